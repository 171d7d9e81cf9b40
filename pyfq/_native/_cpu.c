/* Which instruction-set levels this CPU and operating system can run. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *levels(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
#if defined(__x86_64__)
    __builtin_cpu_init();
    int v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
          && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    int v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
          && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq")
          && __builtin_cpu_supports("avx512vl");
    int v4vnni = v4 && __builtin_cpu_supports("avx512vnni");
    if (v4vnni) return Py_BuildValue("(ssss)", "v4vnni", "v4", "v3", "base");
    if (v4) return Py_BuildValue("(sss)", "v4", "v3", "base");
    if (v3) return Py_BuildValue("(ss)", "v3", "base");
#endif
    return Py_BuildValue("(s)", "base");
}

static PyMethodDef methods[] = {
    {"levels", levels, METH_NOARGS, "Levels this machine can run, the most capable first."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "_cpu", .m_size = 0, .m_methods = methods, .m_slots = slots,
};

PyMODINIT_FUNC PyInit__cpu(void)
{
    return PyModuleDef_Init(&module);
}
