//! Things by the number of their stream. Numbers only grow and few are open, so a sorted list is smaller and quicker than a table of
//! hashes, and no peer can choose numbers that collide.

/// Things by their stream's number.
#[derive(Debug)]
pub struct Streams<T>(Vec<(u32, T)>);

impl<T> Default for Streams<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Streams<T> {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, stream: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&stream, |(number, _)| *number)
    }

    /// The one of a stream.
    #[must_use]
    pub fn get(&self, stream: u32) -> Option<&T> {
        self.find(stream).ok().map(|at| &self.0[at].1)
    }

    /// The one of a stream, to change it.
    pub fn get_mut(&mut self, stream: u32) -> Option<&mut T> {
        self.find(stream).ok().map(|at| &mut self.0[at].1)
    }

    /// Adds one; what was there before for this stream is lost.
    pub fn insert(&mut self, stream: u32, thing: T) {
        match self.find(stream) {
            Ok(at) => self.0[at].1 = thing,
            Err(at) => self.0.insert(at, (stream, thing)),
        }
    }

    /// Takes the one of a stream out.
    pub fn remove(&mut self, stream: u32) -> Option<T> {
        let removed = self.find(stream).ok().map(|at| self.0.remove(at).1);
        if self.0.is_empty() {
            // A connection at rest holds no memory for its streams.
            self.0 = Vec::new();
        }
        removed
    }

    /// Takes those above a stream's number out.
    pub fn split_off(&mut self, above: u32) -> Vec<(u32, T)> {
        let at = self.0.partition_point(|(number, _)| *number <= above);
        self.0.split_off(at)
    }

    /// All of them, by number.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.0.iter_mut().map(|(number, thing)| (*number, thing))
    }

    /// Takes all out.
    pub fn take(&mut self) -> Vec<(u32, T)> {
        std::mem::take(&mut self.0)
    }
}
