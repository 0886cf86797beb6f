//! Threads that look for work instead of sleeping.

use std::sync::atomic::{AtomicBool, Ordering};

/// Runs `work` on the calling thread of a rayon pool while the pool's other threads, once they have nothing else to do, look
/// for parts of it without ever sleeping: to wake one takes as long as dozens of the parts that a short text is split into.
/// They burn their processors meanwhile, so this is for milliseconds.
pub fn awake<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let done = AtomicBool::new(false);
    rayon::scope(|scope| {
        // A caller from outside the pool has none: its work is done by a thread of the pool, which would wait for itself.
        let (own, done) = (rayon::current_thread_index(), &done);
        scope.spawn_broadcast(move |_, context| {
            // The caller's own turn comes while it waits for others, or at the end.
            while Some(context.index()) != own && !done.load(Ordering::Relaxed) {
                if rayon::yield_now() != Some(rayon::Yield::Executed) {
                    std::hint::spin_loop();
                }
            }
        });
        // A panic lets them go as well.
        let _done = Done(done);
        work()
    })
}

struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rayon::iter::{IntoParallelIterator, ParallelIterator};

    use super::*;

    #[test]
    fn what_others_want_meanwhile_is_done_and_a_panic_comes_back() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let parts = || rayon::join(|| 1, || 2);
        let result = pool.install(|| {
            awake(|| {
                // From outside the pool: only a thread that does not work for `awake` can do it.
                let other = std::thread::scope(|scope| scope.spawn(|| pool.install(|| 3)).join().unwrap());
                (parts(), other)
            })
        });
        assert_eq!(result, ((1, 2), 3));
        let fails = || -> () { awake(|| std::panic::resume_unwind(Box::new("a panic"))) };
        let panic = catch_unwind(AssertUnwindSafe(|| pool.install(fails)));
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"a panic"));
        assert_eq!(pool.install(parts), (1, 2));
        let tree = || (0..1_000).into_par_iter().sum::<u32>();
        for _ in 0..100 {
            assert_eq!(awake(tree), 499_500, "from outside of any pool");
        }
    }
}
