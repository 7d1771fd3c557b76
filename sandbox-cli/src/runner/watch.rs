//! Looking on while a scenario runs.

use std::ops::{ControlFlow, Range};
use transport_sim::sandbox::RoutingSandbox;
use transport_sim::sandbox::tasks::Done;

/// Somebody who looks on while a scenario runs, and changes nothing. Each call says whether the run goes on. Steps are
/// counted from 0; a range of them are those that run together.
pub trait Watch {
    /// These steps begin.
    fn on_begin(&mut self, steps: Range<usize>, sandbox: &mut RoutingSandbox) -> ControlFlow<()>;
    /// A tick has passed.
    fn on_tick(&mut self, sandbox: &RoutingSandbox) -> ControlFlow<()>;
    /// An operation of this step has ended.
    fn on_done(&mut self, step: usize, done: &Done, sandbox: &mut RoutingSandbox) -> ControlFlow<()>;
    /// These steps have ended. Time that the watcher lets pass here is part of no step.
    fn on_end(&mut self, steps: Range<usize>, sandbox: &mut RoutingSandbox) -> ControlFlow<()>;
}

/// Nobody.
impl Watch for () {
    fn on_begin(&mut self, _: Range<usize>, _: &mut RoutingSandbox) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn on_tick(&mut self, _: &RoutingSandbox) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn on_done(&mut self, _: usize, _: &Done, _: &mut RoutingSandbox) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn on_end(&mut self, _: Range<usize>, _: &mut RoutingSandbox) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
