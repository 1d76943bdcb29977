//! A store that fails, delays, answers "unknown" after having written, lists late, and loses nothing it confirmed; seen by processes
//! that may die in any call. What really happens to it is watched by `Watch`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

use crate::laws::Watch;
use crate::simulated::{Faults, Simulated};
use crate::turnstile::Turnstile;

/// What is really stored, with the eye of the law on every change.
#[derive(Debug, Default)]
pub struct Truth {
    objects: InMemory,
    watch: Watch,
}

impl Truth {
    pub fn watch(&self) -> &Watch {
        &self.watch
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("truth")
    }
}

#[async_trait]
impl ObjectStore for Truth {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let bytes = bytes::Bytes::from(payload.clone());
        let done = self.objects.put_opts(to, payload, options).await?;
        self.watch.put(to, bytes);
        Ok(done)
    }

    async fn put_multipart_opts(&self, to: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.objects.get_opts(at, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let watch = self.watch.clone();
        let deleted = self.objects.delete_stream(locations);
        deleted.inspect(move |path| path.iter().for_each(|path| watch.delete(path))).boxed()
    }

    fn list(&self, folder: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(folder)
    }

    async fn list_with_delimiter(&self, folder: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(folder).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await?;
        self.watch.copy(from, to);
        Ok(())
    }
}

impl Wire {
    /// Whatever was on its way arrives, and lists catch up.
    pub fn settle(&self) {
        let ghosts = std::mem::take(&mut *self.ghosts.lock().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        ghosts.iter().for_each(|ghost| runtime.block_on(ghost.arrive_all()));
        self.hidden.lock().unwrap().clear();
    }
}

/// How a process sees the store.
#[derive(Clone)]
pub struct Client {
    faulty: Simulated,
    turnstile: Arc<Turnstile>,
    doom: Arc<Mutex<Doom>>,
    wire: Arc<Wire>,
    lags: bool,
}

/// What lies between all processes and the store.
#[derive(Default)]
pub struct Wire {
    /// Clients of processes that died, whose requests may still arrive.
    pub ghosts: Mutex<Vec<Simulated>>,
    /// Lists that will not show a new object, by object.
    hidden: Mutex<BTreeMap<Path, u32>>,
}

/// When a process dies in a call.
#[derive(Debug, Default)]
pub struct Doom {
    /// So many calls before it; none: it does not.
    pub calls_left: Option<u64>,
    /// The last call is carried out all the same.
    pub is_done: bool,
}

impl Client {
    pub fn new(
        truth: &Arc<Truth>,
        (seed, faults, lags): (u64, Faults, bool),
        turnstile: &Arc<Turnstile>,
        doom: Doom,
        wire: &Arc<Wire>,
    ) -> Client {
        Client {
            faulty: Simulated::new(Arc::clone(truth), seed, faults),
            turnstile: Arc::clone(turnstile),
            doom: Arc::new(Mutex::new(doom)),
            wire: Arc::clone(wire),
            lags,
        }
    }

    /// What stays behind when the process dies.
    pub fn ghost(&self) -> Simulated {
        self.faulty.clone()
    }

    /// One call, of which `answer` is what really happens.
    async fn call<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        for _ in 0..self.turnstile.roll(4) {
            tokio::task::yield_now().await;
        }
        if self.turnstile.roll(8) == 0 {
            let ghost = self.wire.ghosts.lock().unwrap().pop();
            if let Some(ghost) = ghost {
                ghost.arrive_all().await;
            }
        }
        let dies = {
            let mut doom = self.doom.lock().unwrap();
            let dies = doom.calls_left == Some(0);
            doom.calls_left = doom.calls_left.map(|left| left.saturating_sub(1));
            dies.then_some(doom.is_done)
        };
        match dies {
            Some(false) => self.turnstile.die_here(),
            Some(true) => {
                let _ = answer.await;
                self.turnstile.die_here()
            }
            None => {
                let answer = answer.await;
                // A reply may take its time, too.
                for _ in 0..self.turnstile.roll(3) {
                    tokio::task::yield_now().await;
                }
                answer
            }
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated")
    }
}

#[async_trait]
impl ObjectStore for Client {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if self.lags {
            let lists = self.turnstile.roll(4);
            self.wire.hidden.lock().unwrap().insert(to.clone(), lists);
        }
        self.call(self.faulty.put_opts(to, payload, options)).await
    }

    async fn put_multipart_opts(&self, to: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.faulty.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.call(self.faulty.get_opts(at, options)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |path: Result<Path>| {
            let this = this.clone();
            async move {
                let path = path?;
                let one = futures::stream::iter([Ok(path)]).boxed();
                this.call(async { this.faulty.delete_stream(one).next().await.expect("one answer a path") }).await
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, folder: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let this = self.clone();
        let listed = self.faulty.list(folder);
        let shown = move |meta: &Result<ObjectMeta>| {
            let Ok(meta) = meta else { return true };
            match this.wire.hidden.lock().unwrap().get_mut(&meta.location) {
                Some(lists) if *lists > 0 => {
                    *lists -= 1;
                    false
                }
                _ => true,
            }
        };
        listed.filter(move |meta| futures::future::ready(shown(meta))).boxed()
    }

    async fn list_with_delimiter(&self, folder: Option<&Path>) -> Result<ListResult> {
        self.call(self.faulty.list_with_delimiter(folder)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.call(self.faulty.copy_opts(from, to, options)).await
    }
}
