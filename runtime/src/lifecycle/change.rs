//! What may change in the spec of a pod that is here: images, the deadline, and ephemeral containers, which are added.
//!
//! It is told the whole new plan and finds the difference itself, so that being told twice changes nothing.

use coracle_api::event::Kind;
use jiff::Timestamp;

use super::backoff::after;
use super::container::{Container, Halt, Slot, State};
use super::{Effect, Lifecycle, Plan, Role};

impl Lifecycle {
    pub(super) fn change(&mut self, plan: Plan, now: Timestamp, effects: &mut Vec<Effect>) {
        self.plan.deadline = plan.deadline;
        for new in plan.containers {
            let known = self.plan.containers.iter().position(|c| c.name == new.name);
            match known {
                Some(i) => self.image_changed(Slot(i), new.image, now, effects),
                None if new.role == Role::Ephemeral => {
                    self.plan.containers.push(new);
                    self.containers.push(Container::default());
                }
                // The others of a pod are fixed.
                None => {}
            }
        }
    }

    /// A running container is restarted with its new image, one that could not start is tried again.
    fn image_changed(&mut self, slot: Slot, image: String, now: Timestamp, effects: &mut Vec<Effect>) {
        let kill_at = after(now, self.plan.grace);
        let Some(plan) = self.plan.containers.get_mut(slot.0).filter(|p| p.image != image) else { return };
        plan.image = image;
        let name = plan.name.clone();
        match self.container(slot).map(|c| &mut c.state) {
            Some(State::Held { until, tries, .. }) => {
                *until = Some(now);
                *tries = 0;
            }
            Some(State::Running { run, halt: halt @ Halt::No, .. }) => {
                *halt = Halt::Draining { kill_at };
                let run = *run;
                let message = format!("Container {name} definition changed, will be restarted");
                effects.push(Effect::Say { slot: Some(slot), kind: Kind::Normal, reason: "Killing", message });
                effects.push(Effect::Stop { slot, run });
            }
            // Whatever starts next reads the spec as it is then.
            _ => {}
        }
    }
}
