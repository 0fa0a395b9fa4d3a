//! What a resource is made of.

use serde_json::{Map, Value};

use crate::fault::{Fault, Fields};
use crate::message::Message;
use crate::pointer::Pointer;
use crate::privilege::Entity;
use crate::world::{Call, Need, World};

/// A resource at a path, or one at each of many.
#[derive(Debug)]
pub struct Resource {
    /// Below `/redfish/v1`, without slashes at its ends; `{}` is a name: `Systems/{}`.
    pub path: &'static str,
    /// `ComputerSystem.v1_20_0.ComputerSystem`; the version is the lowest that has all it shows, which a test compares with DMTF's schemas.
    pub kind: &'static str,
    /// Who may do what.
    pub entity: &'static Entity,
    /// What it shows, but for what follows from the rest of this: its id, type, tag and actions. Null means: not known, and so left out; `None` that there is
    /// no such resource.
    pub show: Show,
    /// Properties whose null is shown: it is known that there is such a thing, and not what it is.
    pub nulls: &'static [&'static str],
    /// Properties that change all the time and so do not count for its tag, as paths: `Status/HealthRollup`.
    pub volatile: &'static [&'static str],
    /// Properties that an excerpt shows; none when it has no excerpt (DSP0266 §7.3.6).
    pub excerpt: &'static [&'static str],
    /// The name, below it, of the resource that takes other values of it in its place (DSP0266, "Settings resource").
    pub settings: Option<&'static str>,
    /// What a PATCH may change.
    pub patch: Option<Patch>,
    /// Groups of properties of a PATCH that count together only: of each all that are given are taken, or none, as one without another is not what was
    /// wanted. What cannot be written may be among them: who asks for it wants it with the others.
    pub together: &'static [&'static [&'static str]],
    /// What a POST makes.
    pub create: Option<Create>,
    /// What a DELETE does.
    pub delete: Option<Delete>,
    /// What can be done with it.
    pub actions: &'static [Action],
    /// Which of those is offered by one of these names, as far as that is known; without it all. What is not is not shown: it would be refused.
    pub offers: Option<Offers>,
    /// Which of the values that a parameter of an action takes can be here; without it, and where it says nothing, all.
    pub values: Option<Values>,
    /// Parameters of its actions that are taken, as the standard has them, and of which nothing becomes, of a request with this body: who gives one is told that
    /// in the answer. Without it there are none.
    pub unused: Option<Unused>,
    /// What an action of this name answers, of what the owner answered; without it, as nearly all: that it is done.
    pub answers: Option<Answers>,
    /// What fields of the contract's requests are called here, for a POST or a PATCH that its owner refuses for one of them. A field that is made of one of
    /// several properties is there once for each.
    pub fields: Fields,
}

/// Which parameters of a request with this body nothing becomes of.
pub(crate) type Unused = fn(&Map<String, Value>) -> &'static [&'static str];

/// Whether an action of this name is offered.
pub type Offers = fn(&World, Names<'_>, &str) -> bool;

/// The values that can be of an action's parameter, by the names of both.
pub type Values = fn(&World, Names<'_>, &str, &str) -> Option<Vec<&'static str>>;

/// What an action answers.
pub type Answers = fn(&str, &[u8]) -> Result<Answered, Fault>;

/// What it is.
#[derive(Debug)]
pub enum Answered {
    /// That it is done.
    Nothing,
    /// This.
    Value(Value),
    /// That it goes on, as the task with this id and this name.
    Task {
        /// As its owner calls it.
        id: String,
        /// As the task shows it.
        name: String,
    },
}

/// Names out of the path of a request, in their order.
pub type Names<'n> = &'n [String];

/// How a resource is shown.
pub type Show = fn(&World, Names<'_>) -> Result<Option<Value>, Fault>;

/// What is to be done.
#[derive(Debug)]
pub enum Deed {
    /// By the owner of a thing.
    Call(Call),
    /// By who serves the stream of events of that id.
    CloseStream(String),
}

/// What deletes a resource.
pub type Delete = fn(&World, Names<'_>) -> Result<Deed, Message>;

impl Resource {
    /// One that only shows.
    #[must_use]
    pub const fn new(path: &'static str, kind: &'static str, entity: &'static Entity, show: Show) -> Self {
        Self {
            path,
            kind,
            entity,
            show,
            nulls: &[],
            volatile: &[],
            excerpt: &[],
            settings: None,
            patch: None,
            together: &[],
            create: None,
            delete: None,
            actions: &[],
            offers: None,
            values: None,
            unused: None,
            answers: None,
            fields: &[],
        }
    }

    /// Whether it is a collection.
    #[must_use]
    pub fn is_collection(&self) -> bool {
        self.kind.ends_with("Collection")
    }

    /// `ComputerSystem`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.kind.rsplit('.').next().unwrap_or(self.kind)
    }

    /// `ComputerSystem.v1_20_0`: the namespace with its version, if it has one.
    #[must_use]
    pub fn namespace(&self) -> &'static str {
        self.kind.rsplit_once('.').map_or(self.kind, |(namespace, _)| namespace)
    }
}

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// True or false.
    Bool,
    /// A whole number from and to.
    Integer(i64, i64),
    /// A whole number, or a text of at most so many characters that clients send in its place.
    IntegerOrText(usize),
    /// A number from and to, whole or not.
    Decimal(i64, i64),
    /// A number, with a fraction or without.
    Number,
    /// A text of at most so many characters.
    Text(usize),
    /// A text that is not to be repeated, of at most so many characters.
    Secret(usize),
    /// PEM of at most so many characters, which may hold a key and so is not to be repeated.
    Pem(usize),
    /// One of these.
    Enum(&'static [&'static str]),
    /// A list of these, each at most once.
    Enums(&'static [&'static str]),
    /// A span of time (DSP0266, "Duration values"): `PT90S`. Months and years, whose lengths differ, and spans before nothing are none.
    Duration,
    /// An object of these properties, of which none has to be there.
    Object(&'static [Property]),
    /// A list of at most so many of those.
    Objects(usize, &'static [Property]),
    /// A list of at most so many texts.
    Texts(usize),
    /// A URI of a resource: `{"@odata.id": …}`.
    Link,
    /// A list of at most so many of those.
    Links(usize),
    /// A list of at most so many objects of names with texts, which are not to be repeated: headers of HTTP. One such object is a list of one.
    Headers(usize),
    /// A list of at most so many addresses of IPv4, each of texts; null and empty objects, with which clients fill lists up, are none.
    Ipv4(usize),
    /// An object of names that the resource shows, with values: which names there are, and which values they take, the resource says.
    Attributes,
}

impl Kind {
    /// What a parameter of an action is called that is one (DSP0268, `ActionInfo`).
    pub(crate) fn data_type(self) -> &'static str {
        match self {
            Self::Bool => "Boolean",
            Self::Integer(..) | Self::IntegerOrText(_) | Self::Decimal(..) | Self::Number => "Number",
            Self::Text(_) | Self::Secret(_) | Self::Pem(_) | Self::Enum(_) | Self::Duration => "String",
            Self::Texts(_) | Self::Enums(_) => "StringArray",
            Self::Link | Self::Object(_) | Self::Attributes => "Object",
            Self::Links(_) | Self::Headers(_) | Self::Ipv4(_) | Self::Objects(..) => "ObjectArray",
        }
    }
}

/// A property that a client may give.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// The names on the way: `Boot/BootSourceOverrideTarget`. The first may be that of an annotation: `@Redfish.SettingsApplyTime/ApplyTime`.
    pub path: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Null is taken as well: it clears the property.
    pub nullable: bool,
}

impl Property {
    /// One that is not nullable.
    #[must_use]
    pub const fn new(path: &'static str, kind: Kind) -> Self {
        Self { path, kind, nullable: false }
    }
}

/// Values that were given and are what they may be, by the paths of their properties.
#[derive(Debug, Default)]
pub struct Given(pub(crate) Vec<(&'static str, Value)>);

impl Given {
    /// The value of a property, if it was given.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Value> {
        self.0.iter().find(|(other, _)| *other == path).map(|(_, value)| value)
    }

    /// A text, if it was given and is not null.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.get(path).and_then(Value::as_str)
    }

    /// True or false, if it was given.
    #[must_use]
    pub fn bool(&self, path: &str) -> Option<bool> {
        self.get(path).and_then(Value::as_bool)
    }

    /// A list of texts, or of links; empty when it was not given.
    #[must_use]
    pub fn texts(&self, path: &str) -> Vec<String> {
        let items = self.get(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let text =
            |item: &Value| item.as_str().or_else(|| item.get("@odata.id")?.as_str()).map(str::to_owned);
        items.iter().filter_map(text).collect()
    }

    /// The paths of all that was given.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(path, _)| *path)
    }

    /// The value at a path, whether it was given by itself or in an object that was.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.get(path) {
            return Some(value);
        }
        let (top, below) = path.split_once('/')?;
        below.split('/').try_fold(self.get(top)?, |value, name| value.get(name))
    }

    /// Whether nothing was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A call, and which properties it is for.
#[derive(Debug)]
pub struct Change {
    /// Paths of properties.
    pub properties: Vec<&'static str>,
    /// What makes it so; a message when it cannot be. One that names a place is told of that place only.
    pub call: Result<Call, Message>,
}

impl Change {
    /// A call for one property.
    #[must_use]
    pub fn of(property: &'static str, call: Result<Call, Message>) -> Self {
        Self { properties: vec![property], call }
    }
}

/// What a PATCH may change.
#[derive(Debug)]
pub struct Patch {
    /// Which properties.
    pub properties: &'static [Property],
    /// Which calls make it so.
    pub apply: fn(&World, Names<'_>, &Given) -> Vec<Change>,
    /// What is known of that afterwards is asked again.
    pub changes: &'static [Need],
}

/// What a POST on a collection makes.
#[derive(Debug)]
pub struct Create {
    /// Which properties, and whether each has to be there.
    pub properties: &'static [(Property, bool)],
    /// Which call makes it; otherwise all that is wrong with what is given.
    pub call: fn(&World, &Given) -> Result<Call, Vec<Message>>,
    /// What became of the owner's answer.
    pub made: fn(&[u8]) -> Result<Made, Fault>,
    /// What is known of that afterwards is asked again.
    pub changes: &'static [Need],
}

/// Something new.
#[derive(Debug)]
pub struct Made {
    /// Its name in the collection.
    pub name: String,
    /// What is shown of it; `None`: what the resource shows.
    pub shown: Option<Value>,
    /// Headers more.
    pub headers: Vec<(&'static str, String)>,
    /// What else is to be said.
    pub messages: Vec<Message>,
}

/// Something that can be done with a resource.
#[derive(Debug)]
pub struct Action {
    /// `ComputerSystem.Reset`.
    pub name: &'static str,
    /// What it takes.
    pub parameters: &'static [Parameter],
    /// Whether what it is done with is there, from as little as says so: an action waits for nobody who only knows what is shown beside.
    pub is_there: fn(&World, Names<'_>) -> Result<bool, Fault>,
    /// Which call does it; the message `Success` of `Base` where none is needed, as it is so already.
    pub run: fn(&World, Names<'_>, &Given) -> Result<Call, Message>,
}

impl Action {
    /// `Reset`.
    #[must_use]
    pub fn short(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}

/// A parameter of an action.
#[derive(Debug)]
pub struct Parameter {
    /// What it is.
    pub property: Property,
    /// It has to be there.
    pub required: bool,
}

/// A link.
#[must_use]
pub(crate) fn link(uri: &str) -> Value {
    let mut map = Map::new();
    map.insert("@odata.id".to_owned(), Value::String(uri.to_owned()));
    Value::Object(map)
}

/// The body of a collection, of links to its members.
#[must_use]
pub(crate) fn collection(name: &str, uris: Vec<String>) -> Value {
    let members: Vec<Value> = uris.iter().map(|uri| link(uri)).collect();
    serde_json::json!({"Name": name, "Members@odata.count": members.len(), "Members": members})
}

/// `State` and `Health`; what is not known is left out.
#[must_use]
pub(crate) fn status(state: &str, health: Option<&str>) -> Value {
    serde_json::json!({"State": state, "Health": health})
}

/// Removes what is null, unless the property is one whose null says something, and objects of which nothing is left.
pub(crate) fn prune(value: &mut Value, keep: &[&str]) {
    match value {
        Value::Object(map) => {
            map.retain(|name, value| {
                prune(value, keep);
                let is_bare = value.as_object().is_some_and(Map::is_empty);
                (!value.is_null() || keep.contains(&name.as_str())) && !is_bare
            });
        }
        Value::Array(list) => {
            for value in list {
                prune(value, keep);
            }
        }
        _ => {}
    }
}

/// A place of a property by its path.
pub(crate) fn pointer(path: &str) -> Pointer {
    Pointer::of(&path.split('/').collect::<Vec<_>>())
}
