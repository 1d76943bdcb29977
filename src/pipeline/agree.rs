//! What must be decided once for the whole cluster: worker 0 decides, all workers learn it before any data flows.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::{Operator, source};
use timely::dataflow::operators::vec::Broadcast;
use timely::worker::Worker;

use crate::pipeline::surroundings::Seat;

/// `decide` runs on worker 0 alone; every worker returns what it said. `None` once `gives_up` says so.
pub fn agree(
    worker: &mut Worker,
    seat: &mut dyn Seat,
    decide: impl FnOnce() -> String + 'static,
    gives_up: impl Fn() -> bool,
) -> Option<String> {
    let index = worker.index();
    let heard: Rc<RefCell<Option<String>>> = Rc::default();
    let ear = heard.clone();
    worker.dataflow::<u64, _, _>(|scope| {
        let mut decide = (index == 0).then_some(decide);
        source::<u64, CapacityContainerBuilder<Vec<String>>, _, _>(scope, "Decide", move |capability, _info| {
            let mut capability = Some(capability);
            move |output| {
                if let Some(capability) = capability.take()
                    && let Some(decide) = decide.take()
                {
                    output.session(&capability).give(decide());
                }
            }
        })
        .broadcast()
        .sink(Pipeline, "Hear", move |(input, _frontier)| {
            input.for_each(|_time, words: &mut Vec<String>| *ear.borrow_mut() = words.pop());
        });
    });
    while heard.borrow().is_none() && !gives_up() {
        seat.pause();
        worker.step_or_park(Some(seat.sleep(Duration::from_millis(20))));
    }
    heard.take()
}
