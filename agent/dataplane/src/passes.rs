//! Work that is done at a wish, and again for a short while, as what it looks at may not be there yet. Called by drain and
//! sources.

use std::time::Duration;

/// Between two passes at least.
const GAP: Duration = Duration::from_millis(20);
/// Before each repetition, beside the gap.
const REPEATS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// Makes a pass at every wish, for ever, and repeats it; a wish that comes meanwhile begins the repetitions anew.
pub(crate) async fn follow<W: Future<Output = ()>, P: Future<Output = ()>>(
    wish: impl Fn() -> W,
    pass: impl Fn() -> P,
) {
    loop {
        wish().await;
        let mut repeats = REPEATS.iter();
        loop {
            pass().await;
            tokio::time::sleep(GAP).await;
            let Some(pause) = repeats.next() else { break };
            if tokio::time::timeout(*pause, wish()).await.is_ok() {
                repeats = REPEATS.iter();
            }
        }
    }
}
