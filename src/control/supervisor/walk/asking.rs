//! What a promotion in steps must be, before anything changes for it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::control::command::Promote;
use crate::control::command::Refusal;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::refusal;
use crate::control::supervisor::request;
use crate::model::split::Share;

/// How long a step is judged unless somebody says.
const PAUSE: Duration = Duration::from_secs(60);

impl Supervisor {
    /// The first step, those after it, and how long each is judged; or why it is refused.
    pub(in crate::control::supervisor) fn may_walk(
        &self,
        request: &Promote,
        names: &[String],
    ) -> Result<(Share, VecDeque<Share>, Duration), Refusal> {
        if request.dry_run {
            return Err(refusal::hinted(
                refusal::malformed("dry_run and steps exclude each other".to_owned()),
                "a dry run without steps says what the gate would",
            ));
        }
        let mut left = steps(&request.steps)?;
        let pause = request::duration("pause", request.pause.as_deref())?.unwrap_or(PAUSE);
        self.meets_no_walk(names)?;
        let first = left.pop_front().ok_or_else(bad_steps)?;
        Ok((first, left, pause))
    }

    /// Refuses while a promotion in steps drives one of these upstreams.
    pub(in crate::control::supervisor) fn meets_no_walk(
        &self,
        names: &[String],
    ) -> Result<(), Refusal> {
        let Some(walk) = self.walks.values().find(|walk| walk.meets(names)) else { return Ok(()) };
        Err(refusal::busy_steps(&walk.names.join(","), walk.colour, walk.caller))
    }
}

/// Steps grow, and the last is everybody.
fn steps(written: &[Share]) -> Result<VecDeque<Share>, Refusal> {
    let grows = written.is_sorted_by(|one, next| one < next);
    let begins = written.first().is_some_and(|first| *first > Share::NONE);
    let ends = written.last() == Some(&Share::ALL);
    if grows && begins && ends { Ok(written.iter().copied().collect()) } else { Err(bad_steps()) }
}

fn bad_steps() -> Refusal {
    let wrong = refusal::malformed("steps: they must grow, and end with 100".to_owned());
    refusal::hinted(wrong, "write them as 1,10,50,100")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_from_more_than_nobody_to_everybody() {
        let read = |text: &str| -> bool {
            let shares: Vec<Share> = text.split(',').map(|one| one.parse().unwrap()).collect();
            steps(&shares).is_ok()
        };
        assert!(read("1,10,50,100") && read("0.1,100") && read("100"));
        for bad in ["0,100", "10,1,100", "10,10,100", "1,10", "100,100"] {
            assert!(!read(bad), "{bad}");
        }
        assert!(steps(&[]).is_err());
    }
}
