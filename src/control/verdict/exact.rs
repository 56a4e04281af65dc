//! How likely a difference is by chance alone: exact tails and bounds, no approximation that could be
//! too small.

/// Beyond this exponent a bound is nothing.
const THETA_MAX: f64 = 60.0;

/// Halvings of the search for the best exponent. Any exponent gives a valid bound.
const HALVINGS: usize = 60;

/// What was counted on one route: `hits` of `all` with the new colour and with the old one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Table {
    pub(super) new_hits: u64,
    pub(super) new_all: u64,
    pub(super) old_hits: u64,
    pub(super) old_all: u64,
}

impl Table {
    fn hits(&self) -> u64 {
        self.new_hits + self.old_hits
    }

    /// The part of all requests that the new colour got.
    fn share(&self) -> f64 {
        real(self.new_all) / real((self.new_all + self.old_all).max(1))
    }

    /// Fisher's exact test, one-sided: if the colour of a request made no difference, how likely the
    /// new colour would have at least so many of the hits. The tail of a hypergeometric distribution.
    pub(super) fn tail(&self) -> f64 {
        let hits = self.hits();
        if real(self.new_hits) <= real(hits) * self.share() {
            return 1.0;
        }
        let first = ln_choose(self.new_all, self.new_hits) + ln_choose(self.old_all, self.old_hits)
            - ln_choose(self.new_all + self.old_all, hits);
        let (mut sum, mut term) = (1.0, 1.0);
        for at in self.new_hits..hits.min(self.new_all) {
            let up = real(self.new_all - at) * real(hits - at);
            let down = real(at + 1) * real((self.old_all + at + 1).saturating_sub(hits));
            term *= up / down;
            sum += term;
            if term < sum * 1e-16 {
                break;
            }
        }
        (first.exp() * sum).min(1.0)
    }
}

/// The same question for several routes at once, each compared with itself only, so that another mix
/// of routes is no difference: Chernoff's bound on the sum of their hypergeometric counts, each of
/// which is bounded by the binomial one (Hoeffding 1963, theorem 4). Never too small.
pub(super) fn tail_of_all(tables: &[Table]) -> f64 {
    let hits = |of: fn(&Table) -> u64| tables.iter().map(of).sum::<u64>();
    let (new, all) = (real(hits(|table| table.new_hits)), hits(Table::hits));
    let mean: f64 = tables
        .iter()
        .map(|table| real(table.hits()) * table.share())
        .sum();
    if new <= mean || all == 0 {
        return 1.0;
    }
    let slope = |theta: f64| -> f64 {
        let one = |table: &Table| {
            let up = table.share() * theta.exp();
            real(table.hits()) * up / (1.0 - table.share() + up)
        };
        tables.iter().map(one).sum()
    };
    let (mut low, mut high) = (0.0, THETA_MAX);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if slope(middle) < new { low = middle } else { high = middle }
    }
    let one =
        |table: &Table| real(table.hits()) * (1.0 - table.share() + table.share() * low.exp()).ln();
    let bound: f64 = tables.iter().map(one).sum::<f64>() - low * new;
    bound.exp().min(1.0)
}

/// A count as a real number: exact below 2^53, which no count of a bake reaches.
#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
pub(super) fn real(count: u64) -> f64 {
    count as f64
}

fn ln_choose(n: u64, k: u64) -> f64 {
    if k > n {
        return f64::NEG_INFINITY;
    }
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// ln n!, by Stirling's series from where it is good to ten digits.
pub(super) fn ln_factorial(n: u64) -> f64 {
    if n < 16 {
        return (2..=n).map(real).map(f64::ln).sum();
    }
    let x = real(n);
    let half_ln_tau = 0.5 * std::f64::consts::TAU.ln();
    let series = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * x * x)) / (x * x)) / x;
    (x + 0.5) * x.ln() - x + half_ln_tau + series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(new: (u64, u64), old: (u64, u64)) -> Table {
        Table { new_hits: new.0, new_all: new.1, old_hits: old.0, old_all: old.1 }
    }

    fn choose(n: u64, k: u64) -> f64 {
        (0..k).map(|at| real(n - at) / real(at + 1)).product()
    }

    #[test]
    fn a_tail_is_the_sum_of_every_outcome_at_least_as_bad() {
        for (new, old) in
            [((5, 20), (2, 100)), ((1, 1), (0, 9)), ((9, 30), (9, 60)), ((3, 3), (1, 4))]
        {
            let hits = new.0 + old.0;
            let ways = |k: u64| choose(new.1, k) * choose(old.1, hits - k);
            let worse: f64 = (new.0..=hits.min(new.1)).map(ways).sum();
            let expected = worse / choose(new.1 + old.1, hits);
            let tail = table(new, old).tail();
            assert!(
                (tail - expected).abs() < 1e-9 * expected,
                "{new:?} {old:?}: {tail} {expected}"
            );
        }
    }

    #[test]
    fn what_is_no_worse_is_no_evidence_and_nothing_counted_is_none() {
        for (new, old) in [((0, 0), (0, 0)), ((1, 100), (1, 100)), ((0, 50), (3, 50))] {
            assert_eq!(table(new, old).tail(), 1.0);
            assert_eq!(tail_of_all(&[table(new, old)]), 1.0);
        }
        assert_eq!(tail_of_all(&[]), 1.0);
    }

    #[test]
    fn the_bound_for_several_routes_is_never_below_the_exact_tail_of_one() {
        for new in 1..40 {
            for old in [0, 1, 7] {
                let one = table((new, 400), (old, 3000));
                let (exact, bound) = (one.tail(), tail_of_all(&[one]));
                assert!(bound >= exact * 0.999_999, "{new} {old}: {exact} {bound}");
                assert!(bound <= (exact * 1000.0).powf(0.8), "{new} {old}: {exact} {bound}");
            }
        }
    }

    #[test]
    fn another_mix_of_routes_is_no_difference() {
        // One route fails often, the other never; the new colour gets more of the first.
        let (often, never) = (table((90, 900), (10, 100)), table((0, 100), (0, 900)));
        assert!(tail_of_all(&[often, never]) > 0.5);
        assert!(table((90, 1000), (10, 1000)).tail() < 1e-9, "the sums alone would blame it");
    }

    #[test]
    fn a_factorial_is_good_to_ten_digits() {
        let slow = |n: u64| (2..=n).map(real).map(f64::ln).sum::<f64>();
        for n in [0, 1, 2, 10, 15, 16, 17, 100, 5000] {
            assert!((ln_factorial(n) - slow(n)).abs() <= 1e-10 * slow(n).max(1.0), "{n}");
        }
    }
}
