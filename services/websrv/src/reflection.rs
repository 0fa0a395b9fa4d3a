//! The answers of `grpc.reflection.v1` (and `v1alpha`, which has the same messages): what grpcurl and `buf curl` ask.

use std::collections::BTreeSet;

use bytes::Bytes;
use ipc::Status;
use prost::Message;
use prost_reflect::FileDescriptor;

const METHODS: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Whether a method is reflection's.
pub(crate) fn is_method(name: &str) -> bool {
    METHODS.contains(&name)
}

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, tag = "1")]
    host: String,
    #[prost(oneof = "Question", tags = "3, 4, 5, 6, 7")]
    question: Option<Question>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Question {
    #[prost(string, tag = "3")]
    FileByFilename(String),
    #[prost(string, tag = "4")]
    FileContainingSymbol(String),
    #[prost(message, tag = "5")]
    FileContainingExtension(ExtensionRequest),
    #[prost(string, tag = "6")]
    AllExtensionNumbersOfType(String),
    #[prost(string, tag = "7")]
    ListServices(String),
}

#[derive(Clone, PartialEq, prost::Message)]
struct ExtensionRequest {
    #[prost(string, tag = "1")]
    containing_type: String,
    #[prost(uint32, tag = "2")]
    extension_number: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Response {
    #[prost(string, tag = "1")]
    valid_host: String,
    #[prost(message, optional, tag = "2")]
    original_request: Option<Request>,
    #[prost(oneof = "Answer", tags = "4, 5, 6, 7")]
    answer: Option<Answer>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Answer {
    #[prost(message, tag = "4")]
    Files(Files),
    #[prost(message, tag = "5")]
    ExtensionNumbers(ExtensionNumbers),
    #[prost(message, tag = "6")]
    Services(Services),
    #[prost(message, tag = "7")]
    Error(ErrorResponse),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Files {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file_descriptor_proto: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ExtensionNumbers {
    #[prost(string, tag = "1")]
    base_type_name: String,
    #[prost(int32, repeated, tag = "2")]
    extension_number: Vec<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Services {
    #[prost(message, repeated, tag = "1")]
    service: Vec<ServiceName>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ServiceName {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ErrorResponse {
    #[prost(int32, tag = "1")]
    error_code: i32,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// Answers one question.
///
/// # Errors
/// `INVALID_ARGUMENT` for bytes that are no question; what is not found is an answer, not an error.
pub(crate) fn answer(question: Bytes) -> Result<Bytes, Status> {
    let request = Request::decode(question)
        .map_err(|error| Status::invalid_argument(format!("the question cannot be decoded: {error}")))?;
    let answer = match &request.question {
        None => return Err(Status::invalid_argument("the question is empty")),
        Some(Question::FileByFilename(name)) => schema::pool().get_file_by_name(name).map(files),
        Some(Question::FileContainingSymbol(symbol)) => file_of(symbol).map(files),
        Some(Question::FileContainingExtension(wanted)) => schema::pool()
            .get_message_by_name(&wanted.containing_type)
            .and_then(|message| message.get_extension(wanted.extension_number))
            .map(|extension| files(extension.parent_file())),
        Some(Question::AllExtensionNumbersOfType(name)) => {
            schema::pool().get_message_by_name(name).map(|message| {
                let extension_number =
                    message.extensions().filter_map(|e| i32::try_from(e.number()).ok()).collect();
                Answer::ExtensionNumbers(ExtensionNumbers { base_type_name: name.clone(), extension_number })
            })
        }
        Some(Question::ListServices(_)) => {
            Some(Answer::Services(Services { service: listed().map(|name| ServiceName { name }).collect() }))
        }
    };
    let answer = answer.unwrap_or_else(|| {
        Answer::Error(ErrorResponse {
            error_code: ipc::Code::NotFound.number(),
            error_message: "there is no such symbol, file or extension".to_owned(),
        })
    });
    let response =
        Response { valid_host: request.host.clone(), original_request: Some(request), answer: Some(answer) };
    Ok(response.encode_to_vec().into())
}

/// The services there are: the public ones of the schema, and those websrv answers itself.
fn listed() -> impl Iterator<Item = String> {
    let public = schema::services().iter().filter(|service| !service.internal);
    let own = schema::pool().services().filter(|service| service.package_name().starts_with("grpc."));
    public
        .map(|service| service.full_name.to_owned())
        .chain(own.map(|service| service.full_name().to_owned()))
}

/// A file and all it imports: clients need them to link it.
fn files(file: FileDescriptor) -> Answer {
    let mut seen = BTreeSet::new();
    let mut file_descriptor_proto = Vec::new();
    let mut waiting = vec![file];
    while let Some(file) = waiting.pop() {
        if seen.insert(file.name().to_owned()) {
            file_descriptor_proto.push(file.encode_to_vec());
            waiting.extend(file.dependencies());
        }
    }
    Answer::Files(Files { file_descriptor_proto })
}

/// The file that defines a message, enum, service, method or extension.
fn file_of(symbol: &str) -> Option<FileDescriptor> {
    let pool = schema::pool();
    if let Some(message) = pool.get_message_by_name(symbol) {
        return Some(message.parent_file());
    }
    if let Some(kind) = pool.get_enum_by_name(symbol) {
        return Some(kind.parent_file());
    }
    if let Some(service) = pool.get_service_by_name(symbol) {
        return Some(service.parent_file());
    }
    if let Some(extension) = pool.all_extensions().find(|extension| extension.full_name() == symbol) {
        return Some(extension.parent_file());
    }
    let (parent, name) = symbol.rsplit_once('.')?;
    if let Some(service) = pool.get_service_by_name(parent) {
        return service.methods().any(|method| method.name() == name).then(|| service.parent_file());
    }
    if let Some(message) = pool.get_message_by_name(parent) {
        return message.get_field_by_name(name).map(|_| message.parent_file());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(question: Question) -> Answer {
        let request = Request { host: "bmc".into(), question: Some(question) };
        let answer = answer(request.encode_to_vec().into()).unwrap();
        Response::decode(answer).unwrap().answer.unwrap()
    }

    #[test]
    fn the_public_services_are_listed_and_the_internal_ones_are_not() {
        let Answer::Services(list) = ask(Question::ListServices(String::new())) else { panic!() };
        for service in schema::services() {
            assert_eq!(list.service.iter().any(|s| s.name == service.full_name), !service.internal);
        }
        for method in METHODS.into_iter().chain(["grpc.health.v1.Health/Watch"]) {
            let name = method.split('/').next().unwrap();
            assert!(list.service.iter().any(|service| service.name == name), "{name}");
            assert!(
                matches!(ask(Question::FileContainingSymbol(name.to_owned())), Answer::Files(_)),
                "{name}"
            );
        }
    }

    #[test]
    fn a_symbol_comes_with_every_file_it_needs() {
        let method = schema::methods().iter().find(|m| !m.internal).unwrap();
        for symbol in
            [method.full_name, method.input_name, "schema.v1alpha1.Privilege", "schema.v1alpha1.privilege"]
        {
            let Answer::Files(files) = ask(Question::FileContainingSymbol(symbol.to_owned())) else {
                panic!("{symbol}")
            };
            let mut pool = prost_reflect::DescriptorPool::new();
            let files = files
                .file_descriptor_proto
                .iter()
                .map(|f| prost_types::FileDescriptorProto::decode(f.as_slice()).unwrap());
            pool.add_file_descriptor_protos(files).unwrap();
        }
    }

    #[test]
    fn what_is_not_there_is_an_answer() {
        let Answer::Error(error) = ask(Question::FileContainingSymbol("no.Such".into())) else { panic!() };
        assert_eq!(error.error_code, 5);
        assert!(answer(Bytes::new()).is_err());
        assert!(answer(Bytes::from_static(b"\xff\xff")).is_err());
    }
}
