//! The messages of each agent, one file an agent, and the table of who may ask what.
//!
//! [`contract!`] turns a list of asks into the agent's `Request` and `Reply`, a typed client for
//! whoever asks, and the trait that the agent implements: an ask that nobody answers, or an answer
//! of the wrong type, does not compile.

pub mod encryption;
pub mod integration;
pub mod monitoring;
pub mod rotation;
pub mod validation;

/// The name under which interfaces ask.
pub const INTERFACE: &str = "interface";

/// Who may ask what of whom: deny by default. The same table is the privilege list of separate
/// processes.
pub fn permits(from: &str, agent: &str, ask: &str) -> bool {
    match (from, agent) {
        (INTERFACE, "encryption") => !matches!(ask, "sign_checkpoint" | "seal_documents"),
        (INTERFACE, "validation") => matches!(ask, "judge" | "measure"),
        (INTERFACE, "monitoring") => true,
        (INTERFACE, "integration") => matches!(ask, "check" | "login"),
        (INTERFACE, "rotation") => true,
        ("rotation", "encryption") => {
            matches!(
                ask,
                "draft" | "open" | "decoy" | "stage_macs" | "check_documents"
            )
        }
        ("validation", "encryption") => ask == "check_documents",
        ("validation", "monitoring") => ask == "record",
        ("rotation", "validation" | "integration") => true,
        ("rotation", "monitoring") => matches!(ask, "commit" | "record"),
        ("monitoring", "encryption") => {
            matches!(ask, "sign_checkpoint" | "checkpoint_key" | "seal_documents")
        }
        _ => false,
    }
}

/// Declares what may be asked of an agent.
macro_rules! contract {
    (
        $(#[$doc:meta])*
        agent $agent:literal handled by $handler:ident;
        $( $(#[$ask_doc:meta])* $ask:ident ( $Variant:ident : $Ask:ty ) -> $Answer:ty ; )+
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "ask", content = "with", rename_all = "snake_case")]
        pub enum Request { $( $(#[$ask_doc])* $Variant($Ask), )+ }

        impl Request {
            /// The ask's name, as the table of privileges and the metrics have it.
            pub fn name(&self) -> &'static str {
                match self { $( Self::$Variant(_) => stringify!($ask), )+ }
            }
        }

        /// The answers, each of the type that its ask promises.
        #[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "answer", content = "with", rename_all = "snake_case")]
        pub enum Reply {
            $( #[doc = concat!("To `", stringify!($ask), "`.")]
               $Variant(Result<$Answer, $crate::Fault>), )+
        }

        /// What the agent implements.
        pub trait $handler {
            $( $(#[$ask_doc])*
               fn $ask(&self, context: &pentad_model::Context, ask: $Ask)
                   -> impl Future<Output = Result<$Answer, $crate::Fault>> + Send; )+
        }

        /// Hands a request to the method that answers it.
        pub async fn dispatch<H: $handler + Sync>(
            agent: &H,
            context: &pentad_model::Context,
            request: Request,
        ) -> Reply {
            match request {
                $( Request::$Variant(ask) => Reply::$Variant(agent.$ask(context, ask).await), )+
            }
        }

        /// Asks the agent, over whatever transport its address has.
        #[derive(Clone)]
        pub struct Client<A>
        where
            A: pentad_runtime::Agent<Request = Request, Reply = Reply>,
        {
            address: pentad_runtime::Address<A>,
        }

        impl<A> Client<A>
        where
            A: pentad_runtime::Agent<Request = Request, Reply = Reply>,
        {
            /// A client at this address.
            pub fn new(address: pentad_runtime::Address<A>) -> Self {
                Self { address }
            }

            $( $(#[$ask_doc])*
               pub async fn $ask(
                   &self,
                   context: &pentad_model::Context,
                   priority: pentad_runtime::Priority,
                   ask: $Ask,
               ) -> Result<$Answer, $crate::Fault> {
                   match self.address.call(context, priority, Request::$Variant(ask)).await? {
                       Reply::$Variant(answer) => answer,
                       _ => Err($crate::Fault::internal(concat!(
                           "the ", $agent, " agent answered `", stringify!($ask),
                           "` with another ask's answer"
                       ))),
                   }
               } )+
        }
    };
}
pub(crate) use contract;
