"""What is done to weights, one file a method: its settings, and their words in a recipe and a file.

| key | class | does | in |
|---|---|---|---|
| `prune` | `Prune` | zeros | `prune.py` |
| `quantize` | `Quantize` | codes and scales | `quantize.py` |
| `codebook` | `QuantizeCodebook` | codes of a table | `codebook.py` |
| `rate` | `QuantizeRate` | entropy-coded codes of a step | `rate.py` |
| `lowrank` | `Factorize` | two thin factors | `lowrank.py` |
| `lossless` | `Lossless` | the same floats in fewer bytes | `lossless.py` |
| `precision` | its name | floats of another dtype | `precision.py` |

`pyfq.exchange.stored` has the arrays that a tensor then becomes in a file.
"""
