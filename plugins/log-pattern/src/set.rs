//! The sets that come built in, for inference servers: what their runtimes and
//! the C library write when something is wrong.
//!
//! Invariant: a line that a healthy server writes matches none of them. What a
//! server may write while it handles a fault well (a traceback of one bad
//! request) must come several times.

use homeostat_sdk::{ERROR, WARNING};
use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Set {
    Python,
    Cuda,
    Generic,
}

/// One rule of a set.
#[derive(Debug)]
pub struct Known {
    /// The finding's kind is `log.NAME`.
    pub name: &'static str,
    pub severity: u8,
    pub patterns: &'static [&'static str],
    pub except: &'static [&'static str],
    pub times: usize,
}

pub const ALL: &[Set] = &[Set::Python, Set::Cuda, Set::Generic];

impl Set {
    pub fn rules(self) -> &'static [Known] {
        match self {
            Self::Python => PYTHON,
            Self::Cuda => CUDA,
            Self::Generic => GENERIC,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Cuda => "cuda",
            Self::Generic => "generic",
        }
    }
}

const fn once(name: &'static str, patterns: &'static [&'static str]) -> Known {
    Known { name, severity: ERROR, patterns, except: &[], times: 1 }
}

const PYTHON: &[Known] = &[
    once(
        "uncaught-exception",
        &["Unhandled exception", "Uncaught exception", "Exception in thread", "Fatal Python error"],
    ),
    // Servers print one for a bad request, too, and go on.
    Known {
        severity: WARNING,
        times: 5,
        ..once("tracebacks", &["Traceback (most recent call last)"])
    },
    Known {
        except: &["OutOfMemoryError"],
        ..once("memory-error", &["MemoryError", "DefaultCPUAllocator: can't allocate"])
    },
];

const CUDA: &[Known] = &[
    once(
        "cuda-oom",
        &[
            "CUDA out of memory",
            "CUDA error: out of memory",
            "CUDA_ERROR_OUT_OF_MEMORY",
            "cudaErrorMemoryAllocation",
            "torch.OutOfMemoryError",
            "cudaMalloc failed: out of memory",
        ],
    ),
    Known {
        except: &["out of memory"],
        ..once(
            "cuda-error",
            &[
                "CUDA error:",
                "CUDA failure",
                "CUDA_ERROR_",
                "cudaError",
                "CUBLAS_STATUS_EXECUTION_FAILED",
                "CUBLAS_STATUS_ALLOC_FAILED",
                "CUDNN_STATUS_EXECUTION_FAILED",
                "device-side assert triggered",
                "no CUDA-capable device is detected",
            ],
        )
    },
    once(
        "nccl-error",
        &[
            "NCCL WARN*rror",
            "NCCL error",
            "ncclSystemError",
            "ncclInternalError",
            "ncclUnhandledCudaError",
            "Watchdog caught collective operation timeout",
        ],
    ),
];

const GENERIC: &[Known] = &[
    once(
        "bad-alloc",
        &["std::bad_alloc", "memory allocation of*bytes failed", "Cannot allocate memory"],
    ),
    once("segfault", &["Segmentation fault", "SIGSEGV", "core dumped"]),
    once(
        "panic",
        &[
            "panicked at",
            "panic: ",
            "fatal error: ",
            "terminate called after throwing",
            "Assertion*failed",
        ],
    ),
    once("address-in-use", &["Address already in use", "EADDRINUSE", "address already in use"]),
    once("no-space", &["No space left on device", "ENOSPC"]),
    once("too-many-files", &["Too many open files", "EMFILE", "too many open files"]),
];
