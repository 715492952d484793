//! Everything that is left to chance in a simulation.

/// One choice that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked {
    /// How many answers there were.
    pub bound: u64,
    /// The answer, from 0 to one less than that.
    pub answer: u64,
}

/// Answers every question that is left to chance, and notes the answers, so that a run can be repeated and shrunk.
/// 0 always means "nothing odd".
#[derive(Debug, Clone)]
pub struct Choices {
    source: Source,
    asked: Vec<Asked>,
}

#[derive(Debug, Clone)]
enum Source {
    Seeded {
        state: u64,
        odd_in_1024: u64,
        /// The answer to the first question, if it is not left to chance.
        first: Option<u64>,
    },
    Recorded {
        answers: Vec<u64>,
        next: usize,
    },
}

impl Choices {
    /// Draws from a seed. Of 1,024 picks `odd_in_1024` are odd.
    pub fn seeded(seed: u64, odd_in_1024: u64) -> Choices {
        Choices { source: Source::Seeded { state: seed, odd_in_1024, first: None }, asked: Vec::new() }
    }

    /// Answers the first question so, and leaves the others to chance.
    #[must_use]
    pub fn beginning_with(mut self, answer: u64) -> Choices {
        if let Source::Seeded { first, .. } = &mut self.source {
            *first = Some(answer);
        }
        self
    }

    /// Lets so many of 1,024 picks be odd from now on.
    pub fn pick_odd(&mut self, in_1024: u64) {
        if let Source::Seeded { odd_in_1024, .. } = &mut self.source {
            *odd_in_1024 = in_1024;
        }
    }

    /// Answers as before. When the list is at its end, and where an answer is out of bounds, with 0.
    pub fn recorded(answers: Vec<u64>) -> Choices {
        Choices { source: Source::Recorded { answers, next: 0 }, asked: Vec::new() }
    }

    /// Returns a number below `bound`, mostly 0.
    pub fn pick(&mut self, bound: u64) -> u64 {
        let odd = match &mut self.source {
            Source::Seeded { state, odd_in_1024, .. } => draw(state) % 1024 < *odd_in_1024,
            Source::Recorded { .. } => true,
        };
        let answer = match &mut self.source {
            Source::Seeded { state, .. } if odd && bound > 1 => 1 + draw(state) % (bound - 1),
            Source::Seeded { .. } => 0,
            recorded => next(recorded),
        };
        self.note(bound, answer)
    }

    /// Says whether something odd happens.
    pub fn odd(&mut self) -> bool {
        self.pick(2) == 1
    }

    /// Returns a number below `bound`; all are as likely.
    pub fn spread(&mut self, bound: u64) -> u64 {
        let answer = self.draw_below(bound);
        self.note(bound, answer)
    }

    /// Returns a number below `bound`, all of which are as likely; or another one below `most`, if it was told to.
    pub fn spread_unless_told(&mut self, bound: u64, most: u64) -> u64 {
        let answer = self.draw_below(bound);
        self.note(most, answer)
    }

    /// Returns the choices so far, in their order.
    pub fn asked(&self) -> &[Asked] {
        &self.asked
    }

    fn draw_below(&mut self, bound: u64) -> u64 {
        match &mut self.source {
            Source::Seeded { state, first, .. } => {
                let drawn = draw(state) % bound.max(1);
                first.take().unwrap_or(drawn)
            }
            recorded => next(recorded),
        }
    }

    fn note(&mut self, bound: u64, answer: u64) -> u64 {
        let answer = if answer < bound { answer } else { 0 };
        self.asked.push(Asked { bound, answer });
        answer
    }
}

fn next(source: &mut Source) -> u64 {
    let Source::Recorded { answers, next } = source else { return 0 };
    *next += 1;
    answers.get(*next - 1).copied().unwrap_or(0)
}

/// Draws the next number of a SplitMix64 generator.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_can_be_repeated_from_its_record() {
        let mut seeded = Choices::seeded(7, 512);
        let first: Vec<_> = (1..200).map(|bound| seeded.pick(bound) + seeded.spread(bound)).collect();
        let mut again = Choices::recorded(seeded.asked().iter().map(|asked| asked.answer).collect());
        let second: Vec<_> = (1..200).map(|bound| again.pick(bound) + again.spread(bound)).collect();
        assert_eq!(first, second);
        assert!(first.iter().any(|&sum| sum > 0));
    }

    #[test]
    fn nothing_odd_is_0() {
        let mut none = Choices::recorded(Vec::new());
        assert_eq!((none.pick(9), none.odd(), none.spread(9)), (0, false, 0));
        let mut seldom = Choices::seeded(1, 10);
        let odd = (0..10_240).filter(|_| seldom.pick(5) != 0).count();
        assert!((50..200).contains(&odd), "{odd} of 10,240 were odd");
    }
}
