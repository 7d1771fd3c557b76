//! Looking on while a scenario runs.

use std::ops::{ControlFlow, Range};
use transport_sim::network::Network;
use transport_sim::sandbox::RoutingSandbox;
use transport_sim::sandbox::tasks::Done;

/// Somebody who looks on while a scenario runs, and changes nothing. Each call says whether the run goes on. Steps are
/// counted from 0; a range of them are those that run together.
pub trait Watch<C = Network> {
    /// These steps begin.
    fn on_begin(&mut self, steps: Range<usize>, sandbox: &mut RoutingSandbox<C>) -> ControlFlow<()>;
    /// A tick has passed.
    fn on_tick(&mut self, sandbox: &RoutingSandbox<C>) -> ControlFlow<()>;
    /// An operation of this step has ended.
    fn on_done(&mut self, step: usize, done: &Done, sandbox: &mut RoutingSandbox<C>) -> ControlFlow<()>;
    /// These steps have ended. Time that the watcher lets pass here is part of no step.
    fn on_end(&mut self, steps: Range<usize>, sandbox: &mut RoutingSandbox<C>) -> ControlFlow<()>;
}

/// Nobody.
impl<C> Watch<C> for () {
    fn on_begin(&mut self, _: Range<usize>, _: &mut RoutingSandbox<C>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn on_tick(&mut self, _: &RoutingSandbox<C>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn on_done(&mut self, _: usize, _: &Done, _: &mut RoutingSandbox<C>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn on_end(&mut self, _: Range<usize>, _: &mut RoutingSandbox<C>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
