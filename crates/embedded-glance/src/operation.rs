//! An operation whose request is read whole: from its route to a response.

use actix_web::web::Bytes;

use super::data::DataDir;
use super::error::Fault;
use super::identity::Identity;
use super::images::{self, Response};
use super::route::Route;
use super::schema;
use super::store::Store;

/// A request that is read whole.
pub(super) struct Operation {
    pub(super) caller: Identity,
    pub(super) query: String,
    pub(super) content_type: String,
    pub(super) range: Option<String>,
    pub(super) content_range: Option<String>,
    pub(super) body: Bytes,
}

impl Operation {
    /// Blocks.
    pub(super) fn run(
        &self,
        store: &Store,
        data: &DataDir,
        route: &Route,
    ) -> Result<Response, Fault> {
        let (caller, body, query) = (&self.caller, &*self.body, self.query.as_str());
        match route {
            Route::Schema(name) => published(schema::published(name)),
            Route::MetadefSchema(name) => published(schema::published_metadef(name)),
            Route::List => store.read(|c| images::list::call(c, caller, query)),
            Route::Create => store.write(|c| images::create::call(c, caller, body)),
            Route::Show(id) => store.read(|c| images::show::call(c, caller, id)),
            Route::Update(id) => {
                store.write(|c| images::update::call(c, caller, id, &self.content_type, body))
            }
            Route::Delete(id) => {
                let response = store.write(|c| images::delete::call(c, caller, id))?;
                data.remove(id);
                Ok(response)
            }
            Route::Download(id) => self.download(store, data, id),
            Route::Act(id, action) => {
                store.write(|c| images::actions::call(c, caller, id, *action))
            }
            Route::AddTag(id, tag) => store.write(|c| images::tags::add(c, caller, id, tag)),
            Route::RemoveTag(id, tag) => store.write(|c| images::tags::remove(c, caller, id, tag)),
            Route::ListMembers(id) => store.read(|c| images::members::list(c, caller, id)),
            Route::CreateMember(id) => {
                store.write(|c| images::members::create(c, caller, id, body))
            }
            Route::ShowMember(id, name) => {
                store.read(|c| images::members::show(c, caller, id, name))
            }
            Route::UpdateMember(id, name) => {
                store.write(|c| images::members::update(c, caller, id, name, body))
            }
            Route::DeleteMember(id, name) => {
                store.write(|c| images::members::delete(c, caller, id, name))
            }
            Route::Stage => Err(images::discovery::stage()),
            Route::Import => images::discovery::import(body),
            Route::ListLocations(id) => {
                store.read(|c| images::locations::list(c, data, caller, id))
            }
            Route::AddLocation(id) => store.read(|c| images::locations::add(c, caller, id, body)),
            Route::DeleteFromStore(name, id) => {
                store.read(|c| images::locations::delete_from_store(c, caller, name, id))
            }
            Route::ImageTasks(id) => store.read(|c| images::tasks::of_image(c, caller, id)),
            Route::ListTasks => images::tasks::list(caller, query),
            Route::CreateTask => images::tasks::create(caller, body),
            Route::ShowTask(id) => images::tasks::show(caller, id),
            Route::DeleteTask => images::tasks::delete(caller),
            Route::ImportMethods => images::discovery::import_methods(),
            Route::Stores => images::discovery::stores(),
            Route::StoresDetail => images::discovery::stores_detail(caller, data),
            Route::Usage => images::discovery::usage(),
            Route::Cache(operation) => store.read(|c| images::cache::call(c, caller, operation)),
            Route::ListNamespaces => images::metadefs::namespaces(query),
            Route::ListResourceTypes => images::metadefs::resource_types(),
            Route::Namespace(name) => Err(images::metadefs::absent(name)),
            // The server answers these itself.
            Route::Root | Route::Upload(_) => Err(Fault::internal()),
        }
    }

    fn download(&self, store: &Store, data: &DataDir, id: &str) -> Result<Response, Fault> {
        let request = images::data::Request {
            query: &self.query,
            range: self.range.as_deref(),
            content_range: self.content_range.as_deref(),
        };
        store.read(|c| images::data::download(c, data, &self.caller, id, &request))
    }
}

fn published(document: Option<serde_json::Value>) -> Result<Response, Fault> {
    Response::json(200, &document.ok_or_else(Fault::no_resource)?)
}
