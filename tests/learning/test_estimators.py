"""Students are estimators as scikit-learn wants them, and learn and compress as they say."""

import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

import pyfq
from pyfq import StudentClassifier, StudentRegressor

DIGITS = train_test_split(*load_digits(return_X_y=True), test_size=1 / 3, random_state=0)
X, UNSEEN, Y, ANSWERS = DIGITS
FEW, FEW_Y = X[:200], Y[:200]
PATIENTS, PROGRESS = load_diabetes(return_X_y=True)


def quick(**how):
    return StudentClassifier((8,), max_iter=5, random_state=0, **how)


def quick_regressor(**how):
    return StudentRegressor((8,), max_iter=5, random_state=0, **how)


@parametrize_with_checks(
    [
        StudentClassifier(),
        StudentRegressor(),
        StudentClassifier(compression=8),
        StudentRegressor(compression=8),
    ]
)
def test_scikit_learn_finds_nothing_to_object_to(estimator, check):
    check(estimator)


def test_import_pyfq_does_not_import_scikit_learn():
    code = "import sys, pyfq; dir(pyfq); print([m for m in sys.modules if m.startswith('sklearn')])"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_without_scikit_learn_one_line_says_what_to_install():
    code = """if True:
        import sys
        sys.modules["sklearn"] = sys.modules["sklearn.base"] = None
        from pyfq import *
        import pyfq
        print("StudentClassifier" in dir(pyfq))
        try:
            pyfq.StudentClassifier
        except ImportError as e:
            print(e)
    """
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "True",
        "StudentClassifier and StudentRegressor need scikit-learn 1.6 or later: "
        "pip install 'scikit-learn>=1.6'",
    ]


def test_by_default_digits_are_read_as_well_as_by_a_perceptron_of_scikit_learn():
    seeds = range(3)
    theirs = [MLPClassifier(random_state=i).fit(X, Y).score(UNSEEN, ANSWERS) for i in seeds]
    ours = [StudentClassifier(random_state=i).fit(X, Y).score(UNSEEN, ANSWERS) for i in seeds]
    assert np.mean(ours) > 0.97
    assert np.mean(ours) > np.mean(theirs) - 0.005


def test_a_network_of_raw_inputs_is_kept(tmp_path):
    text = np.array(["even", "odd"])[Y % 2]
    student = quick().fit(X * 100 - 7, text)
    pyfq.save_network(student.network_, tmp_path / "student.safetensors")
    network = pyfq.load_network(tmp_path / "student.safetensors")
    unseen = UNSEEN * 100 - 7
    np.testing.assert_array_equal(network.predict(unseen), student.predict(unseen))
    np.testing.assert_array_equal(network.forward(unseen), student.predict_proba(unseen))
    np.testing.assert_allclose(network.input_mean, (X * 100 - 7).mean(axis=0), atol=1e-9)


def test_units_of_inputs_and_targets_do_not_matter():
    student, other = quick_regressor(), quick_regressor()
    want = student.fit(PATIENTS, PROGRESS).predict(PATIENTS)
    got = other.fit(PATIENTS * 1024 + 3, PROGRESS * 64 - 5).predict(PATIENTS * 1024 + 3)
    np.testing.assert_allclose(got, want * 64 - 5, rtol=1e-6)


@pytest.mark.parametrize("unit", [2.0**-700, 2.0**700])
def test_units_whose_squares_no_number_holds_do_not_matter(unit):
    want = quick_regressor().fit(PATIENTS, PROGRESS).predict(PATIENTS)
    got = quick_regressor().fit(PATIENTS * unit, PROGRESS * unit).predict(PATIENTS * unit)
    np.testing.assert_array_equal(got, want * unit)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_network_has_the_dtype_of_inputs(dtype):
    student = quick().fit(FEW.astype(dtype), FEW_Y)
    assert student.network_.dtype == student.predict_proba(FEW.astype(dtype)).dtype == dtype


def test_features_that_are_constant_do_no_harm():
    x = np.column_stack([FEW, np.full(len(FEW), 0.1), np.zeros(len(FEW))])
    student = quick().fit(x, FEW_Y)
    assert student.network_.input_scale[-2:].tolist() == [1, 1]
    assert np.isfinite(student.predict_proba(x)).all()


# ---------------------------------------------------------------------------------- compression


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_bits_are_those_of_the_weights(bits):
    student = quick(compression=bits).fit(FEW, FEW_Y)
    assert [layer.weights.bits for layer in student.network_.layers] == [bits, bits]


def test_weights_are_rounded_in_training():
    """At 2 bits what was trained to be rounded keeps more than what is rounded behind."""
    behind = StudentClassifier((32,), compression=lambda w: pyfq.quantize(w, 2), random_state=0)
    within = StudentClassifier((32,), compression=2, random_state=0)
    scores = [one.fit(X, Y).score(UNSEEN, ANSWERS) for one in (behind, within)]
    assert scores[1] > scores[0] + 0.1


def test_compression_may_be_any_function_of_weights():
    student = quick(compression=lambda w: pyfq.quantize_codebook(w, "nf4")).fit(FEW, FEW_Y)
    floats = quick().fit(FEW, FEW_Y).network_
    rounded = floats.map_weights(lambda w: pyfq.quantize_codebook(w, "nf4"))
    np.testing.assert_array_equal(student.predict_proba(FEW), rounded.forward(FEW))
    groups = pyfq.FakeQuantize(4, granularity=pyfq.PerGroup(16))
    student = quick(compression=groups).fit(FEW, FEW_Y)
    assert student.network_.layers[0].weights.scale.shape == (8, 4)


# ---------------------------------------------------------------------------------- teachers


def test_a_forest_teaches_classes_in_the_order_of_the_student():
    text = np.array(list("zyxwvutsrq"))[FEW_Y]
    forest = RandomForestClassifier(30, random_state=0).fit(FEW, text)
    student = StudentClassifier((32,), teacher=forest, alpha=1.0, random_state=0)
    student.fit(FEW, np.random.default_rng(0).permutation(text))  # alpha 1: y does not count
    assert (student.predict(FEW) == forest.predict(FEW)).mean() > 0.95


def test_teachers_of_every_kind_give_the_same_student():
    mlp = MLPClassifier((8,), max_iter=20, random_state=0).fit(FEW, FEW_Y)
    network = pyfq.from_sklearn(mlp)

    def learned_from(teacher):
        return quick(teacher=teacher).fit(FEW, FEW_Y).predict_proba(FEW)

    want = learned_from(network)
    single = learned_from(pyfq.from_sklearn(mlp, dtype=np.float32))
    np.testing.assert_allclose(single, want, atol=1e-4)
    want = learned_from(mlp)  # whose probabilities have a least one, which logits have not
    function = learned_from(lambda x: np.log(np.maximum(network.forward(x), 2.0**-23)))
    np.testing.assert_allclose(function, want, atol=1e-6)


def test_a_forest_teaches_values():
    forest = RandomForestRegressor(30, random_state=0).fit(PATIENTS, PROGRESS)
    student = StudentRegressor((32,), teacher=forest, alpha=1.0, random_state=0)
    student.fit(PATIENTS, np.random.default_rng(0).permutation(PROGRESS))
    assert np.corrcoef(student.predict(PATIENTS), forest.predict(PATIENTS))[0, 1] > 0.85


def test_clones_keep_a_teacher_fitted():
    forest = RandomForestClassifier(5, random_state=0).fit(FEW, FEW_Y)
    student = quick(teacher=forest)
    copied = clone(student.fit(FEW, FEW_Y))
    assert copied.teacher is forest and not hasattr(copied, "network_")
    assert student.teacher is forest
    scores = cross_val_score(quick(teacher=forest), FEW, FEW_Y, cv=2)
    assert np.isfinite(scores).all()


def test_a_teacher_sees_the_names_of_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(FEW, columns=[f"pixel {i}" for i in range(64)])
    forest = RandomForestClassifier(5, random_state=0).fit(frame, FEW_Y)
    student = quick(teacher=forest).fit(frame, FEW_Y)  # a warning would be an error here
    assert student.feature_names_in_.tolist() == frame.columns.tolist()
    student.set_params(random_state=1).fit(frame, pandas.Series(FEW_Y)).predict(frame)


def test_teachers_that_cannot_teach_are_refused():
    with pytest.raises(NotFittedError):
        quick(teacher=RandomForestClassifier()).fit(FEW, FEW_Y)
    with pytest.raises(TypeError, match=r"teacher \(LinearSVC\) must have predict_proba"):
        quick(teacher=LinearSVC().fit(FEW, FEW_Y)).fit(FEW, FEW_Y)
    with pytest.raises(ValueError, match="must know the class 9 of the student"):
        few = RandomForestClassifier(3).fit(FEW[FEW_Y < 9], FEW_Y[FEW_Y < 9])
        quick(teacher=few).fit(FEW, FEW_Y)
    with pytest.raises(TypeError, match="teacher must be a fitted estimator, a Network or a call"):
        quick(teacher=FEW).fit(FEW, FEW_Y)


# ---------------------------------------------------------------------------------- scikit-learn


def test_grids_pipelines_and_pickles_take_students():
    model = make_pipeline(MinMaxScaler(), quick())
    grid = GridSearchCV(
        model, {"studentclassifier__compression": [None, 4]}, cv=2, error_score="raise"
    ).fit(FEW, FEW_Y)
    again = pickle.loads(pickle.dumps(grid))
    np.testing.assert_array_equal(again.predict(UNSEEN), grid.predict(UNSEEN))


def test_scaling_before_changes_nothing_but_rounding():
    alone = quick().fit(FEW, FEW_Y).predict_proba(FEW)
    scaled = make_pipeline(StandardScaler(), quick()).fit(FEW, FEW_Y).predict_proba(FEW)
    np.testing.assert_allclose(scaled, alone, rtol=1e-6, atol=1e-9)


def test_random_state_decides():
    one, same, other = (quick().set_params(random_state=seed).fit(FEW, FEW_Y) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.predict_proba(FEW), same.predict_proba(FEW))
    assert (one.predict_proba(FEW) != other.predict_proba(FEW)).any()
    assert quick().set_params(random_state=np.random.RandomState(1)).fit(FEW, FEW_Y).network_


def test_early_stopping_keeps_the_best_epoch():
    student = StudentClassifier((64,), early_stopping=True, n_iter_no_change=3, random_state=0)
    student.fit(X, Y)
    assert 3 < student.n_iter_ < student.max_iter
    assert len(student.loss_curve_) == student.n_iter_
    assert student.score(UNSEEN, ANSWERS) > 0.93


@pytest.mark.parametrize(
    ("y", "fraction", "match"),
    [
        ("a" * 29 + "b", 0.1, r"early_stopping needs .*, not 1 as class 'b' has: leave it out"),
        ("abcde" * 6, 0.1, r"5 of 30 samples.* not 27 and 3 as 0\.1 does: pass (.*) or (.*)"),
        ("abcde" * 6, 0.9, r"5 of 30 samples.* not 3 and 27 as 0\.9 does: pass (.*) or (.*)"),
        ("ab" * 15, 0, r"2 of 30 samples.* not 30 and 0 as 0 does: pass (.*) or (.*)"),
    ],
)
def test_early_stopping_of_few_samples_a_class_names_what_helps(y, fraction, match):
    student = quick(early_stopping=True, validation_fraction=fraction)
    y = np.array(list(y))
    with pytest.raises(ValueError, match=match) as error:
        student.fit(FEW[:30], y)
    ways = re.search(match, str(error.value)).groups() or ("early_stopping=False",)
    for way in ways:
        name, _, value = way.partition("=")
        quick(**{"early_stopping": True, name: eval(value)}).fit(FEW[:30], y)


def test_early_stopping_leaves_out_samples_without_weight():
    y = np.array(list("ab" * 15 + "c"))
    quick(early_stopping=True).fit(FEW[:31], y, sample_weight=(y != "c").astype(float))


def test_early_stopping_of_a_regressor_needs_samples_on_both_sides():
    with pytest.raises(ValueError, match=r"validation_fraction must .* 1 of 20 .* as 1"):
        quick_regressor(early_stopping=True, validation_fraction=1).fit(
            PATIENTS[:20], PROGRESS[:20]
        )


def test_several_values_come_as_they_went():
    both = np.column_stack([PROGRESS, -PROGRESS])
    student = quick_regressor().fit(PATIENTS, both)
    assert student.predict(PATIENTS).shape == both.shape
    assert quick_regressor().fit(PATIENTS, PROGRESS).predict(PATIENTS).shape == PROGRESS.shape


@pytest.mark.parametrize(
    ("error", "match", "how"),
    [
        (ValueError, r"hidden_layer_sizes\[1\] must be at least 1", {"hidden_layer_sizes": (3, 0)}),
        (ValueError, "activation must be None, one of 'relu'", {"activation": "logistic"}),
        (ValueError, "compression must be 2 ... 8, not 1", {"compression": 1}),
        (TypeError, "compression must be an integer, not str", {"compression": "int8"}),
        (ValueError, "batch_size must be an integer or 'auto', not 'all'", {"batch_size": "all"}),
        (ValueError, "max_iter must be at least 1", {"max_iter": 0}),
        (TypeError, "early_stopping must be True or False", {"early_stopping": 3}),
        (ValueError, "learning_rate must be", {"learning_rate_init": -1.0}),
    ],
)
def test_parameters_are_refused_by_name(error, match, how):
    with pytest.raises(error, match=match):
        StudentClassifier(**how).fit(FEW, FEW_Y)


def test_alpha_is_refused_where_there_is_a_teacher():
    forest = RandomForestClassifier(3).fit(FEW, FEW_Y)
    with pytest.raises(ValueError, match=r"alpha must be 0 ... 1"):
        quick(teacher=forest, alpha=2.0).fit(FEW, FEW_Y)
