//! The pauses before another try.

use std::time::Duration;

/// The shortest pause.
const LEAST: Duration = Duration::from_millis(50);

/// Returns the pause after `tries` of them: twice as long each time, up to `most`. A random half of it is spared, so that
/// clients do not try in step; `chance` is that randomness, from 0 up to 1.
pub(crate) fn pause(tries: u32, most: Duration, chance: f64) -> Duration {
    let whole = LEAST.saturating_mul(1 << tries.min(16)).min(most);
    whole / 2 + (whole / 2).mul_f64(chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_most_and_are_spread() {
        let most = Duration::from_secs(2);
        let pauses = [0, 1, 2, 5, 6, 99].map(|tries| pause(tries, most, 1.0).as_millis());
        assert_eq!(pauses, [50, 100, 200, 1_600, 2_000, 2_000]);
        assert_eq!(pause(0, most, 0.0).as_millis(), 25);
    }
}
