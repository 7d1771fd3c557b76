//! Panics as findings: a failed assertion ends its run and no other one.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Whether this thread's panics are findings, and the last one's place and message.
    static IS_CATCHING: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Does this; a panic on the way is an error that says where and why. Other threads' panics are told as ever.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IS_CATCHING.get() {
                CAUGHT.set(Some(told(info)));
            } else {
                before(info);
            }
        }));
    });
    IS_CATCHING.set(true);
    // What was under way is dropped with the run: nobody sees it half done.
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_CATCHING.set(false);
    result.map_err(|_| CAUGHT.take().unwrap_or_default())
}

fn told(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map(|place| format!("{}:{}: ", place.file(), place.line())).unwrap_or_default();
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = text.unwrap_or("a panic without words");
    place + message.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_place_and_the_next_work_goes_on() {
        let told = caught(|| {
            if true {
                panic!("seven is no node\nand more")
            }
        })
        .unwrap_err();
        assert!(told.contains("caught.rs:") && told.ends_with(": seven is no node"), "{told}");
        assert_eq!(caught(|| 7), Ok(7));
    }
}
