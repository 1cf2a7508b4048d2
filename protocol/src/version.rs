//! The names of client versions.
//!
//! Each command carries its sender's version as a number: the place in RocketMQ's list of versions
//! (`common/src/main/java/org/apache/rocketmq/common/MQVersion.java`, the same in 4.9.8 and 5.3.3), which has a snapshot and
//! a release of each, up to 5.9.9.

/// Where the list comes to a version, and which: its third number goes from `patches.0` to `patches.1`.
struct Stretch {
    from: i32,
    major: i32,
    minor: i32,
    patches: (i32, i32),
}

/// From the last to the first. Before 3.1.0 there are alphas and betas, and before 4.0.0 no patch 0 from 3.3 on.
const STRETCHES: [Stretch; 4] = [
    Stretch { from: 212, major: 4, minor: 0, patches: (0, 9) },
    Stretch { from: 86, major: 3, minor: 3, patches: (1, 9) },
    Stretch { from: 46, major: 3, minor: 1, patches: (0, 9) },
    Stretch { from: 16, major: 3, minor: 0, patches: (1, 15) },
];

/// Behind the last one, `V5_9_9`.
const HIGHER: i32 = 612;

/// The name of a version as RocketMQ's metrics have it, such as `v5_3_1` or `v5_3_1_snapshot`.
///
/// What is older than 3.0.1 is all `v3_0_0`; a number that is no version is `unknown`.
#[must_use]
pub fn name(number: i32) -> String {
    if number >= HIGHER {
        return String::from("higher_version");
    }
    let Some(stretch) = STRETCHES.iter().find(|stretch| stretch.from <= number) else {
        return String::from(if number < 0 { "unknown" } else { "v3_0_0" });
    };
    let step = number - stretch.from;
    let (first, last) = stretch.patches;
    let (minors, patch) = (step / 2 / (last - first + 1), first + step / 2 % (last - first + 1));
    let minor = stretch.minor + minors;
    let kind = if step % 2 == 0 { "_snapshot" } else { "" };
    format!("v{}_{}_{patch}{kind}", stretch.major + minor / 10, minor % 10)
}

#[cfg(test)]
mod tests {
    use super::name;

    /// Numbers that are known from elsewhere: those of [`crate::command::VERSION`] and of clients.
    #[test]
    fn numbers_have_the_names_of_rocketmqs_list() {
        let known = [
            (513, "v5_5_0"),
            (475, "v5_3_1"),
            (474, "v5_3_1_snapshot"),
            (121, "v3_4_9"),
            (212, "v4_0_0_snapshot"),
            (211, "v3_9_9"),
            (86, "v3_3_1_snapshot"),
            (85, "v3_2_9"),
            (45, "v3_0_15"),
            (17, "v3_0_1"),
            (3, "v3_0_0"),
            (611, "v5_9_9"),
            (612, "higher_version"),
            (i32::MAX, "higher_version"),
            (-1, "unknown"),
        ];
        for (number, text) in known {
            assert_eq!(name(number), text, "{number}");
        }
    }
}
