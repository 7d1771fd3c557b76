//! Placeholder.
use routing_core::effect::{Effects, Operation, OperationId};
use routing_core::heard::Heard;
use routing_core::state::{NodeState, Phase};
use routing_core::time::Tick;

pub(crate) struct Driven(NodeState);
impl Driven {
    pub(crate) fn new(state: NodeState, _now: Tick) -> Self {
        Self(state)
    }
    pub(crate) fn turn(
        &mut self,
        now: Tick,
        asked: &mut Vec<(OperationId, Operation)>,
        heard: &mut Vec<Heard>,
        effects: &mut Effects,
    ) -> Option<Tick> {
        self.0.turn(now, asked, heard, effects);
        self.0.next_wake()
    }
    pub(crate) fn has_ended(&self) -> bool {
        self.0.phase() == Phase::Departed
    }
    pub(crate) fn is_idle(&self) -> bool {
        self.0.is_idle()
    }
}
