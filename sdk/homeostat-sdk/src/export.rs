//! The macros that make a plugin of a type.
//!
//! Invariant: what they expand to is the same call into `Instance` or `decide`
//! that the test kit makes, so a native test and the component run one code.

/// Makes a detector the plugin of this crate: `detector!(MyDetector);`, or
/// `detector!(MyDetector, resumable);` where it implements
/// [`Resumable`](crate::Resumable) too.
#[macro_export]
macro_rules! detector {
    ($detector:ty) => {
        const _: () = {
            #[cfg(target_arch = "wasm32")]
            $crate::__detector_exports!($detector);
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn() = $crate::export::is_detector::<$detector>;
        };
    };
    ($detector:ty, resumable) => {
        const _: () = {
            #[cfg(target_arch = "wasm32")]
            $crate::__detector_exports!($detector);
            #[cfg(target_arch = "wasm32")]
            impl $crate::bindings::checkpoint::exports::homeostat::plugin::checkpoint::Guest
                for Exported
            {
                fn save() -> ::std::vec::Vec<u8> {
                    INSTANCE.with_borrow(|it| it.save())
                }

                fn restore(
                    state: ::std::vec::Vec<u8>,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    INSTANCE.with_borrow_mut(|it| it.restore(&state))
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::bindings::checkpoint::export_checkpoint!(
                Exported with_types_in $crate::bindings::checkpoint
            );
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn() = $crate::export::is_resumable::<$detector>;
        };
    };
}

/// Makes a healer the plugin of this crate: `healer!(MyHealer);`.
#[macro_export]
macro_rules! healer {
    ($healer:ty) => {
        const _: () = {
            #[cfg(target_arch = "wasm32")]
            struct Exported;
            #[cfg(target_arch = "wasm32")]
            impl $crate::bindings::healer::exports::homeostat::plugin::heal::Guest for Exported {
                fn decide(
                    config: ::std::string::String,
                    incident: $crate::Incident,
                ) -> ::std::result::Result<$crate::Decision, $crate::Error> {
                    $crate::export::decide::<$healer>(&config, &incident)
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::bindings::healer::export_healer!(
                Exported with_types_in $crate::bindings::healer
            );
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn() = $crate::export::is_healer::<$healer>;
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __detector_exports {
    ($detector:ty) => {
        struct Exported;

        ::std::thread_local! {
            static INSTANCE: ::std::cell::RefCell<$crate::export::Instance<$detector>> =
                const { ::std::cell::RefCell::new($crate::export::Instance::empty()) };
        }

        impl $crate::bindings::detector::exports::homeostat::plugin::detect::Guest for Exported {
            fn configure(
                config: ::std::string::String,
            ) -> ::std::result::Result<::std::vec::Vec<::std::string::String>, $crate::Error> {
                INSTANCE.with_borrow_mut(|it| it.configure(&config))
            }

            fn bind(
                series: ::std::vec::Vec<$crate::Series>,
            ) -> ::std::result::Result<(), $crate::Error> {
                INSTANCE.with_borrow_mut(|it| it.bind(series))
            }

            fn observe(frame: $crate::RawFrame) -> $crate::Report {
                INSTANCE.with_borrow_mut(|it| it.observe(&frame))
            }
        }

        $crate::bindings::detector::export_detector!(
            Exported with_types_in $crate::bindings::detector
        );
    };
}

pub use crate::detector::Instance;
pub use crate::healer::decide;

// A plugin that lacks a trait is told so by `cargo test` too.
pub fn is_detector<D: crate::Detector>() {}
pub fn is_resumable<D: crate::Resumable>() {}
pub fn is_healer<H: crate::Healer>() {}
