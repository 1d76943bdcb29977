//! A store in memory that misbehaves by a seed, or stops at a given call; for tests of what stands on storage.
//!
//! Promise: it loses nothing that it confirmed, and the same seed with the same calls misbehaves in the same way.

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// How often what goes wrong, each in thousandths of the calls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Fails, and nothing was done.
    pub before: u64,
    /// Fails, and it was done.
    pub after: u64,
    /// Fails, and is done some calls later: a request whose client had given up.
    pub delayed: u64,
}

/// Writes that were answered with an error and have yet to happen.
#[derive(Debug)]
struct Late {
    due: u64,
    to: Path,
    payload: PutPayload,
    options: PutOptions,
}

#[derive(Debug)]
struct State {
    seed: u64,
    calls: u64,
    faults: Faults,
    /// From this call on nothing is answered but errors; only the first of them may have been done.
    stops_at: u64,
    last: LastCall,
    late: Vec<Late>,
}

/// Whether the call at which a store stops is done all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastCall {
    Done,
    Undone,
}

/// A faulty view of a store in memory. Views of the same memory are the clients of one store.
#[derive(Clone, Debug)]
pub(crate) struct Simulated {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
}

impl Simulated {
    pub(crate) fn new(inner: Arc<impl ObjectStore>, seed: u64, faults: Faults) -> Simulated {
        let state = State { seed, calls: 0, faults, stops_at: u64::MAX, last: LastCall::Undone, late: Vec::new() };
        Simulated { inner, state: Arc::new(Mutex::new(state)) }
    }

    /// A view without faults that stops at its call number `calls`, from 0.
    pub(crate) fn stopping(inner: Arc<impl ObjectStore>, calls: u64, last: LastCall) -> Simulated {
        let simulated = Simulated::new(inner, 0, Faults::default());
        {
            let mut state = simulated.state.lock().unwrap();
            (state.stops_at, state.last) = (calls, last);
        }
        simulated
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.state.lock().unwrap().calls
    }

    /// The next of a row of random numbers (splitmix64), and the number of this call.
    fn roll(state: &mut State) -> (u64, u64) {
        state.seed = state.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let call = state.calls;
        state.calls += 1;
        (z ^ (z >> 31), call)
    }

    /// What happens to the call at hand.
    fn fate(&self) -> Fate {
        let mut state = self.state.lock().unwrap();
        let (roll, call) = Simulated::roll(&mut state);
        let (roll, faults) = (roll % 1000, state.faults);
        if call == state.stops_at && state.last == LastCall::Done {
            Fate::After
        } else if call >= state.stops_at || roll < faults.before {
            Fate::Before
        } else if roll < faults.before + faults.after {
            Fate::After
        } else if roll < faults.before + faults.after + faults.delayed {
            Fate::Delayed { due: call + 1 + roll % 7 }
        } else {
            Fate::Fine
        }
    }

    /// Lets every late write arrive: what a client had sent may come after its end.
    #[allow(dead_code, reason = "the simulation of the whole pipeline calls it")]
    pub(crate) async fn arrive_all(&self) {
        self.state.lock().unwrap().late.iter_mut().for_each(|late| late.due = 0);
        self.arrive().await;
    }

    /// Lets the late writes arrive whose time has come.
    async fn arrive(&self) {
        let due = {
            let mut state = self.state.lock().unwrap();
            let now = state.calls;
            let (due, waiting) = std::mem::take(&mut state.late).into_iter().partition(|late| late.due <= now);
            state.late = waiting;
            due
        };
        for Late { to, payload, options, .. } in due {
            let _ = self.inner.put_opts(&to, payload, options).await;
        }
    }

    async fn around<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.arrive().await;
        match self.fate() {
            Fate::Fine => call.await,
            Fate::After => {
                call.await?;
                Err(fault())
            }
            Fate::Before | Fate::Delayed { .. } => Err(fault()),
        }
    }
}

enum Fate {
    Fine,
    Before,
    After,
    Delayed { due: u64 },
}

fn fault() -> Error {
    Error::Generic { store: "simulated", source: "no answer".into() }
}

impl fmt::Display for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated")
    }
}

#[async_trait]
impl ObjectStore for Simulated {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.arrive().await;
        match self.fate() {
            Fate::Fine => self.inner.put_opts(to, payload, options).await,
            Fate::After => {
                self.inner.put_opts(to, payload, options).await?;
                Err(fault())
            }
            Fate::Before => Err(fault()),
            Fate::Delayed { due } => {
                self.state.lock().unwrap().late.push(Late { due, to: to.clone(), payload, options });
                Err(fault())
            }
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(fault())
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.around(self.inner.get_opts(at, options)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |path: Result<Path>| {
            let this = this.clone();
            async move {
                let path = path?;
                this.around(this.inner.delete(&path)).await.map(|()| path)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, folder: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fate() {
            Fate::Fine => self.inner.list(folder),
            _ => futures::stream::iter([Err(fault())]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, folder: Option<&Path>) -> Result<ListResult> {
        self.around(self.inner.list_with_delimiter(folder)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.around(self.inner.copy_opts(from, to, options)).await
    }
}

/// A store that lets an object be created twice, as old S3 look-alikes do.
#[derive(Debug)]
pub(crate) struct Unconditional(pub(crate) InMemory);

impl fmt::Display for Unconditional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unconditional")
    }
}

#[async_trait]
impl ObjectStore for Unconditional {
    async fn put_opts(&self, to: &Path, payload: PutPayload, _: PutOptions) -> Result<PutResult> {
        self.0.put_opts(to, payload, PutOptions::default()).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(fault())
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(at, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, folder: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(folder)
    }

    async fn list_with_delimiter(&self, folder: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(folder).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}
