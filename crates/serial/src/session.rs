//! Who looks at a console, and who of them types.

/// Sessions of one console at a time.
pub const SESSIONS_MAX: usize = 16;
/// Of these one account may have at most, if it is no administrator's.
pub const OF_ACCOUNT: usize = SESSIONS_MAX / 2;
/// Places that only administrators get.
pub const FOR_ADMINISTRATORS: usize = 4;

/// Whose a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Name of the account.
    pub account: String,
    /// Whether it may configure the controller or users.
    pub is_administrator: bool,
}

/// A session; no other has or had its number.
pub type SessionId = u64;

/// Something the others are told, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Somebody came.
    Came(SessionId),
    /// Somebody went.
    Went {
        /// Who it was.
        who: String,
        /// Whether the keyboard was theirs.
        wrote: bool,
    },
    /// The keyboard has a new holder; from whom it was taken, if from somebody.
    Writes {
        /// Whose it is.
        writer: SessionId,
        /// Whose it was.
        from: Option<SessionId>,
    },
    /// The keyboard is nobody's.
    Free,
}

/// Why something has no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No more sessions.
    #[error("there are {SESSIONS_MAX} sessions already")]
    Full,
    /// The account has its share.
    #[error("this account has {OF_ACCOUNT} sessions here already")]
    Share,
    /// What is left is for administrators.
    #[error("there are {} sessions already; the other places are kept for administrators", SESSIONS_MAX - FOR_ADMINISTRATORS)]
    Kept,
    /// It was opened for reading.
    #[error("this session was opened for reading only")]
    ReadOnly,
    /// Another has the keyboard.
    #[error("{0} has the keyboard: take it over first")]
    Busy(String),
    /// There is no such session any more.
    #[error("the session has ended")]
    Gone,
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    who: String,
    holder: Holder,
    may_write: bool,
}

/// The sessions of one console. The keyboard is one session's at a time: a free one is had by typing, another's only by taking it over.
#[derive(Debug, Default)]
pub struct Sessions {
    present: Vec<Session>,
    writer: Option<SessionId>,
    last: SessionId,
}

impl Sessions {
    /// Whether this account may have one more: without being an administrator's half of the places at most, and not the last four.
    ///
    /// # Errors
    /// [`Refused::Full`], [`Refused::Share`], [`Refused::Kept`]
    pub fn room_for(&self, holder: &Holder) -> Result<(), Refused> {
        let having =
            |is: &dyn Fn(&Holder) -> bool| self.present.iter().filter(|session| is(&session.holder)).count();
        if self.present.len() >= SESSIONS_MAX {
            return Err(Refused::Full);
        }
        if holder.is_administrator {
            return Ok(());
        }
        if having(&|other| other.account == holder.account) >= OF_ACCOUNT {
            return Err(Refused::Share);
        }
        if having(&|other| !other.is_administrator) >= SESSIONS_MAX - FOR_ADMINISTRATORS {
            return Err(Refused::Kept);
        }
        Ok(())
    }

    /// Lets a session in.
    ///
    /// # Errors
    /// As [`Self::room_for`].
    pub fn join(&mut self, who: &str, holder: Holder, may_write: bool) -> Result<SessionId, Refused> {
        self.room_for(&holder)?;
        self.last += 1;
        self.present.push(Session { id: self.last, who: who.to_owned(), holder, may_write });
        Ok(self.last)
    }

    /// A session has ended; what the others are told.
    pub fn leave(&mut self, id: SessionId) -> Option<News> {
        let index = self.present.iter().position(|session| session.id == id)?;
        let session = self.present.remove(index);
        let wrote = self.writer == Some(id);
        if wrote {
            self.writer = None;
        }
        Some(News::Went { who: session.who, wrote })
    }

    /// The account whose session this is; empty for one that has ended.
    #[must_use]
    pub fn account(&self, id: SessionId) -> &str {
        self.find(id).map(|session| session.holder.account.as_str()).unwrap_or_default()
    }

    /// Whether this session may type: it has the keyboard, or nobody has.
    ///
    /// # Errors
    /// [`Refused`]
    pub fn may_type(&self, id: SessionId) -> Result<(), Refused> {
        match self.writer {
            _ if !self.find(id)?.may_write => Err(Refused::ReadOnly),
            Some(writer) if writer != id => Err(Refused::Busy(self.who(writer).to_owned())),
            _ => Ok(()),
        }
    }

    /// Somebody types: whether it reaches the host. A free keyboard is theirs from now on.
    ///
    /// # Errors
    /// [`Refused`]
    pub fn typed(&mut self, id: SessionId) -> Result<Option<News>, Refused> {
        self.may_type(id)?;
        if self.writer == Some(id) {
            return Ok(None);
        }
        self.writer = Some(id);
        Ok(Some(News::Writes { writer: id, from: None }))
    }

    /// The keyboard is this session's from now on, whoever had it.
    ///
    /// # Errors
    /// [`Refused`]
    pub fn take_over(&mut self, id: SessionId) -> Result<Option<News>, Refused> {
        if !self.find(id)?.may_write {
            return Err(Refused::ReadOnly);
        }
        if self.writer == Some(id) {
            return Ok(None);
        }
        let from = self.writer.replace(id);
        Ok(Some(News::Writes { writer: id, from }))
    }

    /// The keyboard is nobody's, if it was this session's.
    pub fn release(&mut self, id: SessionId) -> Option<News> {
        (self.writer == Some(id)).then(|| {
            self.writer = None;
            News::Free
        })
    }

    /// Who has the keyboard.
    #[must_use]
    pub const fn writer(&self) -> Option<SessionId> {
        self.writer
    }

    /// How a session is called; empty when it is gone.
    #[must_use]
    pub fn who(&self, id: SessionId) -> &str {
        self.present.iter().find(|session| session.id == id).map_or("", |session| &session.who)
    }

    /// Whether a session may have the keyboard.
    #[must_use]
    pub fn may_write(&self, id: SessionId) -> bool {
        self.present.iter().any(|session| session.id == id && session.may_write)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.present.len()
    }

    fn find(&self, id: SessionId) -> Result<&Session, Refused> {
        self.present.iter().find(|session| session.id == id).ok_or(Refused::Gone)
    }
}
