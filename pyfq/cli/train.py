"""``pyfq train``: samples in, a network out."""

import argparse
from dataclasses import replace

import pyfq
from pyfq.cli import SubParsers, UsageError, _fit, _fit_report
from pyfq.cli._data import FILES, classifies, file_classes, read_samples
from pyfq.cli._help import HelpFormatter
from pyfq.cli._parser import path_of
from pyfq.cli._report import pairs_text

EPILOG = f"""\
what is learned:
  Labels make the network a classifier (cross-entropy), floats are values to be learned (mse);
  --loss says it otherwise. The labels are kept in OUT: pyfq predict gives them. The network of the
  epoch with the smallest loss on samples held out is written. Ctrl-C stops early and writes the
  best so far.

{FILES}
examples:
  pyfq train --layers 64,128,10 --data digits.npz -o digits.safetensors --patience 10
  pyfq train --layers 4,16,3 --data iris.csv --y species -o iris.safetensors --normalize
  pyfq train --layers 20,64,64,2 --data run.csv --y heating,drying --normalize \\
      --activation tanh --schedule cosine --plot losses.png -o emulator.safetensors
  pyfq train digits.safetensors --data more.npz -o digits2.safetensors --learning-rate 1e-4
  pyfq train pruned.safetensors --data digits.npz -o tuned.safetensors --keep-zeros
  pyfq train digits.safetensors --data digits.npz -o digits4.safetensors --fake-quantize 4:32
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "train",
        description="Train a network of dense layers on samples in a file.",
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add(
        "network",
        metavar="NETWORK",
        type=path_of,
        nargs="?",
        help="go on from that file, .safetensors or .onnx; else --layers says what is new",
    )
    add("--layers", metavar="N,N,...", help="inputs, neurons of hidden layers, outputs: 64,32,10")
    add(
        "--loss",
        choices=("cross_entropy", "mse", "huber"),
        help="(default: cross_entropy for labels, mse for values)",
    )
    _fit.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Train, write and report."""
    if (args.network is None) == (args.layers is None):
        raise UsageError("say either NETWORK, to go on from that file, or --layers")
    options = _fit.options_of(args, args.loss)
    start = None if args.network is None else _fit.read_start(args.network, args)
    sizes = start.sizes if start else _fit.sizes_of(args.layers)
    samples = read_samples(args.data, args, sizes[0])
    if samples.y is None:
        why = "--y names an array or a column, and pyfq distill learns without"
        raise ValueError(f"{args.data}: y is missing: {why}")
    has_classes = classifies(samples.y, args.loss, start)
    network = start or _fit.new_network(sizes, args, args.dtype or "float32")
    if start is None and has_classes:
        network = replace(network, classes=file_classes(samples.y, sizes[-1], args.data))
    task = _fit.prepare(args, network, samples, has_classes)
    training = _fit.train(args, options, task, args.loss, "training")
    network = _fit.write_trained(args, training)

    found = pyfq.evaluate(network, task.measured.x, task.measured.y)
    document = _fit_report.document_of(args, options, task, network, [args.network])
    document["settings"]["loss"] = args.loss or ("cross_entropy" if has_classes else "mse")
    document |= {"training": _fit_report.training_entry(training), "results": found.as_dict()}
    figure = _fit_report.figure_text(found.accuracy if has_classes else found.rmse, task)
    lines = [
        *_fit_report.training_lines(training),
        ("accuracy" if has_classes else "RMSE", f"{figure}, {_fit_report.measured_text(task)}"),
        ("parameters", f"{network.size:,}"),
        *_fit_report.closing_lines(training, args.output),
    ]
    _fit_report.tell(args, {args.output.stem: training}, document, pairs_text(lines))
    return 0
