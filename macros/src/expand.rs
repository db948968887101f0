//! Generates the items of an interface: the trait with `serve`, and the client.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse_quote;
use syn::spanned::Spanned;

use crate::parse::{Argument, Interface, Method, Passed, conditions};

/// Describes a call mode of the client: how its methods wait. Modes differ in the type that carries
/// the calls, and in what the methods return.
struct CallMode {
    /// Names the type that carries the calls.
    mode: TokenStream,
    /// Makes the return type of a call from the type that the server returns.
    returns: fn(&TokenStream) -> TokenStream,
    /// Follows the author's documentation of a method.
    about_calls: &'static str,
    /// Holds the return type of an event, and the text that follows its documentation. `None` if
    /// this mode sends no events.
    events: Option<(TokenStream, &'static str)>,
}

pub(crate) fn expand(interface: &Interface) -> TokenStream {
    let server = server(interface);
    let client = client(interface);
    quote! {
        #server
        #client
    }
}

// ---- the server -------------------------------------------------------------------------------

fn server(interface: &Interface) -> TokenStream {
    let mut item = interface.item.clone();
    let ident = &item.ident;
    let client = client_name(interface);
    let registrations = interface.methods.iter().map(|method| registration(interface, method));
    let (server, served) = (local("server"), local("served"));
    let about = format!(
        " Serves the methods of this interface on one end of a pair until the pair ends. \
         The peer calls them by a [`{ident}Client`]."
    );
    item.items.push(parse_quote! {
        #[doc = #about]
        ///
        /// Replaces the handlers that were registered under the same names before. To keep access
        /// to the server, serve an `Arc` of it: `Arc` implements this interface, too.
        ///
        /// # Panics
        ///
        /// Panics as [`Coprocess::serve`](::coprocess::Coprocess::serve) does.
        #[allow(deprecated)]
        fn serve(self, on: &::coprocess::Coprocess)
        where
            Self: ::core::marker::Sized + ::core::marker::Send + ::core::marker::Sync + 'static,
        {
            let #server = ::std::sync::Arc::new(self);
            let mut #served = <::coprocess::interface::Served as ::core::default::Default>::default();
            #(#registrations)*
            ::coprocess::interface::Served::on(#served, on, <#client as ::coprocess::interface::Described>::description());
        }
    });
    let attributes = conditions(&interface.attributes);
    let forwards = interface.methods.iter().map(|method| {
        let attributes = conditions(&method.attributes);
        let Method { declared, ident: called, arguments, reply, .. } = method;
        let arguments = arguments.iter().map(|argument| &argument.ident).chain(reply);
        quote! {
            #(#attributes)*
            #[inline]
            #declared {
                <__Server as #ident>::#called(self #(, #arguments)*)
            }
        }
    });
    let supertraits = (!item.supertraits.is_empty()).then(|| {
        let bounds = &item.supertraits;
        quote!(where ::std::sync::Arc<__Server>: #bounds)
    });
    quote! {
        #[allow(dead_code)]
        #item

        #(#attributes)*
        #[automatically_derived]
        #[allow(deprecated)]
        impl<__Server: ?::core::marker::Sized + #ident> #ident for ::std::sync::Arc<__Server> #supertraits {
            #(#forwards)*
        }
    }
}

/// Makes the name of a local variable that no argument of the user's can shadow.
///
/// There must be no constant of that name in any scope. It would take the place of the variable.
fn local(name: &str) -> Ident {
    Ident::new(&format!("__{name}"), Span::mixed_site())
}

/// Generates the registration of a method of the server.
fn registration(interface: &Interface, method: &Method) -> TokenStream {
    let conditions = conditions(&method.attributes);
    let wire = wire_name(interface, method);
    let (trait_name, called, result) = (&interface.item.ident, &method.ident, &method.result);
    let names: Vec<Ident> =
        (0..method.arguments.len()).map(|at| local(&format!("argument_{at}"))).collect();
    let types = method.arguments.iter().map(Argument::received);
    let passed =
        names.iter().zip(&method.arguments).map(|(name, argument)| match argument.passed {
            Passed::Value => name.to_token_stream(),
            Passed::Text | Passed::Bytes | Passed::Slice(_) | Passed::Reference(_) => {
                quote!(&#name)
            }
        });
    let parameter = match &names[..] {
        [] => quote!((): ()),
        [name] => quote!(#name: #(#types)*),
        names => quote!((#(#names),*): (#(#types),*)),
    };
    let (register, reply) = match &method.reply {
        Some(reply) => ("served_later", quote!(, #reply)),
        None => (if method.is_event { "event" } else { "method" }, TokenStream::new()),
    };
    let register = Ident::new(register, called.span());
    let (typed_reply, returned) = match &method.reply {
        Some(reply) => (quote!(, #reply: ::coprocess::Reply<#result>), quote!(())),
        None => (TokenStream::new(), result.clone()),
    };
    let (server, served) = (local("server"), local("served"));
    // `clone` is qualified: an `Arc` of a server implements the interface, which may have a `clone`
    // of its own.
    quote! {
        #(#conditions)*
        {
            let #server = <::std::sync::Arc<Self> as ::core::clone::Clone>::clone(&#server);
            #served.#register(#wire, move |#parameter #typed_reply| -> #returned { <Self as #trait_name>::#called(&#server #(, #passed)* #reply) });
        }
    }
}

/// Generates the description that both ends compare.
fn description(interface: &Interface) -> TokenStream {
    let (name, client) = (&interface.name, client_name(interface));
    let attributes = conditions(&interface.attributes);
    let methods = interface.methods.iter().map(|method| {
        let conditions = conditions(&method.attributes);
        let (name, signature) = (method.ident.unraw().to_string(), &method.signature);
        quote! {
            #(#conditions)*
            ::coprocess::interface::Method { name: #name, signature: #signature }
        }
    });
    quote! {
        #(#attributes)*
        #[automatically_derived]
        #[allow(deprecated)]
        #[doc(hidden)]
        impl ::coprocess::interface::Described for #client {
            fn description() -> &'static ::coprocess::interface::Description {
                const { &::coprocess::interface::Description::new(#name, &[#(#methods),*]) }
            }
        }
    }
}

// ---- the client -------------------------------------------------------------------------------

fn modes() -> [CallMode; 4] {
    [
        CallMode {
            mode: quote!(::coprocess::Coprocess),
            returns: |result| quote!(::coprocess::Result<#result>),
            about_calls: "Waits for the result, as \
                 [`Coprocess::call`](::coprocess::Coprocess::call) does, with its errors.",
            events: Some((
                quote!(::coprocess::Result<()>),
                "Sends an event, as \
                 [`Coprocess::emit`](::coprocess::Coprocess::emit) does, with its errors.",
            )),
        },
        CallMode {
            mode: quote!(::coprocess::interface::Within<'_>),
            returns: |result| quote!(::coprocess::Result<#result>),
            about_calls: "Waits for the result until the deadline, as \
                 [`Coprocess::call_timeout`](::coprocess::Coprocess::call_timeout) does, \
                 with its errors.",
            events: Some((
                quote!(::coprocess::Result<()>),
                "Sends an event before the deadline, as \
                 [`Coprocess::emit_timeout`](::coprocess::Coprocess::emit_timeout) does, \
                 with its errors.",
            )),
        },
        CallMode {
            mode: quote!(::coprocess::interface::Pipelined<'_>),
            returns: |result| quote!(::coprocess::Result<::coprocess::Pending<#result>>),
            about_calls: "Sends the call and does not wait for its result, as \
                 [`Coprocess::start`](::coprocess::Coprocess::start) does, with its errors.",
            events: None,
        },
        CallMode {
            mode: quote!(::coprocess::interface::Asynchronous<'_>),
            returns: |result| quote!(::coprocess::Call<#result>),
            about_calls: "Returns the call as a future, as \
                 [`Coprocess::call_async`](::coprocess::Coprocess::call_async) does, \
                 with its errors.\n\n# Cancel safety\n\n\
                 As [`Coprocess::call_async`](::coprocess::Coprocess::call_async).",
            events: Some((
                quote!(::coprocess::Emission),
                "Returns the event as a future, as \
                 [`Coprocess::emit_async`](::coprocess::Coprocess::emit_async) does, \
                 with its errors.\n\n# Cancel safety\n\n\
                 As [`Coprocess::emit_async`](::coprocess::Coprocess::emit_async).",
            )),
        },
    ]
}

fn client(interface: &Interface) -> TokenStream {
    let (vis, ident) = (&interface.item.vis, &interface.item.ident);
    let client = client_name(interface);
    let conditions: Vec<_> = conditions(&interface.attributes).collect();
    let attributes = &interface.attributes;
    let description = description(interface);
    let (made, checked) = (local("client"), local("checked"));
    let about = format!(" The client of [`{ident}`]: calls the methods that the peer serves.");
    let methods = modes().into_iter().map(|mode| {
        let methods =
            interface.methods.iter().filter_map(|method| client_method(interface, method, &mode));
        let mode = &mode.mode;
        quote! {
            #(#conditions)*
            #[automatically_derived]
            #[allow(dead_code, deprecated, clippy::too_many_arguments)]
            impl #client<#mode> {
                #(#methods)*
            }
        }
    });
    quote! {
        #(#attributes)*
        ///
        #[doc = #about]
        #[allow(dead_code)]
        #[derive(::core::fmt::Debug, ::core::clone::Clone)]
        #vis struct #client<Mode = ::coprocess::Coprocess> {
            mode: Mode,
        }

        #(#conditions)*
        #[automatically_derived]
        #[allow(dead_code, deprecated)]
        impl #client {
            /// Makes a client if the peer of `co` serves this interface.
            ///
            /// Asks the peer what it serves, and compares its answer with this interface.
            ///
            /// # Blocking
            ///
            /// Waits for the answer as [`Coprocess::call`](::coprocess::Coprocess::call) does.
            ///
            /// # Errors
            ///
            /// - [`Error::Interface`](::coprocess::Error::Interface): the peer does not serve
            ///   this interface, or a method of it is written with other types there.
            /// - The errors of [`Coprocess::call`](::coprocess::Coprocess::call).
            ///
            /// A difference inside of a type is found later: the first call or event with such a
            /// value is [`Error::Types`](::coprocess::Error::Types).
            #vis fn new(co: &::coprocess::Coprocess) -> ::coprocess::Result<Self> {
                ::coprocess::interface::check(co, <Self as ::coprocess::interface::Described>::description())?;
                ::core::result::Result::Ok(Self::unchecked(co))
            }

            /// Makes a client as [`new`](Self::new) does, for a task. The future sends the question
            /// when it is awaited.
            ///
            /// # Errors
            ///
            /// Returns the errors of [`new`](Self::new).
            ///
            /// # Cancel safety
            ///
            /// As [`Coprocess::call_async`](::coprocess::Coprocess::call_async).
            #vis fn new_async(
                co: &::coprocess::Coprocess,
            ) -> impl ::core::future::Future<Output = ::coprocess::Result<Self>> + ::core::marker::Send + use<> {
                let #made = Self::unchecked(co);
                let #checked = ::coprocess::interface::check_async(co, <Self as ::coprocess::interface::Described>::description());
                async move {
                    #checked.await?;
                    ::core::result::Result::Ok(#made)
                }
            }

            /// Makes a client without asking what the peer serves.
            ///
            /// Use this if the peer serves the interface later, or method by method, by
            /// [`Coprocess::serve`](::coprocess::Coprocess::serve).
            #vis fn unchecked(co: &::coprocess::Coprocess) -> Self {
                Self { mode: ::core::clone::Clone::clone(co) }
            }

            /// Returns this client with a deadline for each call.
            #vis fn within(&self, timeout: ::core::time::Duration) -> #client<::coprocess::interface::Within<'_>> {
                #client { mode: ::coprocess::interface::Within::new(&self.mode, timeout) }
            }

            /// Returns this client in a mode that sends calls at once, and waits for them later.
            #vis fn pipelined(&self) -> #client<::coprocess::interface::Pipelined<'_>> {
                #client { mode: ::coprocess::interface::Pipelined::new(&self.mode) }
            }

            /// Returns this client in a mode whose calls and events are awaited.
            #vis fn asynchronous(&self) -> #client<::coprocess::interface::Asynchronous<'_>> {
                #client { mode: ::coprocess::interface::Asynchronous::new(&self.mode) }
            }
        }

        #(#conditions)*
        #[automatically_derived]
        #[allow(dead_code, deprecated)]
        impl<'a> #client<::coprocess::interface::Within<'a>> {
            /// Returns this client in a mode whose calls and events are awaited, with a deadline
            /// for each.
            #vis fn asynchronous(&self) -> #client<::coprocess::interface::Asynchronous<'a>> {
                #client { mode: ::core::convert::From::from(self.mode) }
            }
        }

        #(#methods)*

        #description
    }
}

fn client_name(interface: &Interface) -> Ident {
    format_ident!("{}Client", interface.item.ident)
}

fn client_method(interface: &Interface, method: &Method, mode: &CallMode) -> Option<TokenStream> {
    let (vis, ident, attributes, must_use) =
        (&interface.item.vis, &method.ident, &method.attributes, &method.must_use);
    let wire = wire_name(interface, method);
    let (call, returns, about) = if method.is_event {
        let (returns, about) = mode.events.clone()?;
        (quote!(::coprocess::interface::emit), returns, about)
    } else {
        // The span of the result: the compiler reports errors of the result type there.
        let call = quote_spanned!(method.result.span()=> ::coprocess::interface::call);
        (call, (mode.returns)(&method.result), mode.about_calls)
    };
    let parameters =
        method.arguments.iter().map(|Argument { ident, declared, .. }| quote!(#ident: #declared));
    let sent: Vec<TokenStream> = method
        .arguments
        .iter()
        .map(|Argument { ident, passed, .. }| match passed {
            Passed::Bytes => quote!(::coprocess::serde_bytes::Bytes::new(#ident)),
            Passed::Value | Passed::Text | Passed::Slice(_) | Passed::Reference(_) => {
                ident.to_token_stream()
            }
        })
        .collect();
    let sent = match &sent[..] {
        [] => quote!(()),
        [one] => one.clone(),
        several => quote!((#(#several),*)),
    };
    Some(quote! {
        #(#attributes)*
        ///
        #[doc = #about]
        #(#must_use)*
        #[inline]
        #vis fn #ident(&self #(, #parameters)*) -> #returns {
            #call(&self.mode, #wire, #sent)
        }
    })
}

/// Returns the name of a method on the wire.
fn wire_name(interface: &Interface, method: &Method) -> String {
    format!("{}.{}", interface.name, method.ident.unraw())
}

#[cfg(test)]
mod tests {
    use syn::Attribute;

    use super::*;
    use crate::parse::interface;

    fn expanded(item: TokenStream) -> String {
        expand(&interface(TokenStream::new(), item).expect("an interface")).to_string()
    }

    /// Returns the documentation that rustdoc makes from these attributes.
    fn documentation(attributes: &[Attribute]) -> String {
        let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
            syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
                syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(line), .. }) => Some(line.value()),
                _ => None,
            },
            _ => None,
        });
        lines
            .map(|line| line.strip_prefix(' ').unwrap_or(&line).to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn documentation_is_carried_over() {
        let file: syn::File = syn::parse2(expand(
            &interface(
                TokenStream::new(),
                quote! {
                    /// About all of it.
                    pub trait Calculator {
                        /// About a call.
                        ///
                        /// At length.
                        fn add(&self, a: i64, b: i64) -> i64;
                        /// About an event.
                        #[event]
                        fn note(&self);
                        fn silent(&self);
                    }
                },
            )
            .expect("an interface"),
        ))
        .expect("items");
        let (mut server, mut client, mut clients) = (Vec::new(), String::new(), Vec::new());
        for item in &file.items {
            match item {
                syn::Item::Trait(item) => {
                    assert_eq!(documentation(&item.attrs), "About all of it.");
                    server.extend(item.items.iter().map(|item| match item {
                        syn::TraitItem::Fn(method) => {
                            (method.sig.ident.to_string(), documentation(&method.attrs))
                        }
                        other => panic!("{}", other.to_token_stream()),
                    }));
                }
                syn::Item::Struct(item) => client = documentation(&item.attrs),
                syn::Item::Impl(item) => {
                    let mode = item.self_ty.to_token_stream().to_string();
                    clients.extend(item.items.iter().filter_map(|item| match item {
                        syn::ImplItem::Fn(method) => Some((
                            mode.clone(),
                            method.sig.ident.to_string(),
                            documentation(&method.attrs),
                        )),
                        _ => None,
                    }));
                }
                _ => {}
            }
        }
        assert_eq!(
            client,
            "About all of it.\n\n\
             The client of [`Calculator`]: calls the methods that the peer serves."
        );
        let served = |name: &str| {
            &server.iter().find(|method| method.0 == name).expect("a method of the trait").1
        };
        assert_eq!(served("add"), "About a call.\n\nAt length.");
        assert_eq!(served("note"), "About an event.");
        assert_eq!(served("silent"), "");
        assert!(
            served("serve")
                .starts_with("Serves the methods of this interface on one end of a pair")
        );
        for (mode, add, note) in [
            ("Coprocess", "Waits for the result, as", Some("Sends an event, as")),
            (
                "Within",
                "Waits for the result until the deadline",
                Some("Sends an event before the deadline"),
            ),
            ("Pipelined", "Sends the call and does not wait", None),
            (
                "Asynchronous",
                "Returns the call as a future, as",
                Some("Returns the event as a future, as"),
            ),
        ] {
            let said = |name: &str| {
                let called = clients
                    .iter()
                    .find(|method| method.0.contains(&format!(":: {mode}")) && method.1 == name);
                called.map(|method| method.2.as_str())
            };
            assert!(
                said("add").is_some_and(
                    |said| said.starts_with(&format!("About a call.\n\nAt length.\n\n{add}"))
                ),
                "{:?}",
                said("add")
            );
            assert!(
                said("silent").is_some_and(|said| said.trim_start().starts_with(add)),
                "{:?}",
                said("silent")
            );
            match note {
                Some(note) => {
                    assert!(
                        said("note").is_some_and(
                            |said| said.starts_with(&format!("About an event.\n\n{note}"))
                        ),
                        "{:?}",
                        said("note")
                    );
                }
                None => assert_eq!(said("note"), None),
            }
        }
    }

    #[test]
    fn conditions_of_attributes_are_carried_over_with_those_that_matter() {
        let text = expanded(quote! {
            trait Calculator {
                #[cfg_attr(feature = "less", cfg(never), doc = "Less.", inline, cfg_attr(all(a, b), cfg(c)))]
                #[cfg_attr(true, must_use = "it is slow")]
                #[must_use]
                fn add(&self, a: i8, b: i8) -> i8;
            }
        });
        // The trait has the attribute as it is. Three places have its conditions only: the
        // implementation for Arc, the registration, and the description. The four modes of the
        // client have its conditions and its documentation.
        let condition = r#"# [cfg_attr (feature = "less" , cfg (never) , "#;
        assert_eq!(
            text.matches(&format!(
                r#"{condition}doc = "Less." , inline , cfg_attr (all (a , b) , cfg (c)))]"#
            ))
            .count(),
            1
        );
        assert_eq!(
            text.matches(&format!(r#"{condition}cfg_attr (all (a , b) , cfg (c)))]"#)).count(),
            3
        );
        assert_eq!(
            text.matches(&format!(
                r#"{condition}doc = "Less." , cfg_attr (all (a , b) , cfg (c)))]"#
            ))
            .count(),
            4
        );
        assert_eq!(text.matches(r#"# [cfg_attr (true , must_use = "it is slow")]"#).count(), 5);
        assert_eq!(text.matches("# [must_use]").count(), 1);
    }

    #[test]
    fn a_deferred_method_has_a_reply_at_the_server_and_a_result_at_the_client() {
        let text = expanded(quote! {
            trait Index {
                /// Finds.
                #[deferred]
                fn find(&self, reply: &str) -> Vec<u64>;
            }
        });
        let close = text.replace(' ', "");
        // The first: in the trait, and for Arc. The second: in the four modes of the client.
        assert_eq!(
            close.matches("fnfind(&self,reply:&str,reply:::coprocess::Reply<Vec<u64>>)").count(),
            2
        );
        assert_eq!(close.matches("fnfind(&self,reply:&str)->").count(), 4);
        assert_eq!(text.matches("Answered by `reply`").count(), 1);
        assert!(text.contains(r#"signature : "fn(String) -> Vec<u64>""#), "{text}");
    }

    #[test]
    fn what_stands_on_a_method_stays_where_it_belongs() {
        let text = expanded(quote! {
            #[cfg(feature = "sums")]
            trait Calculator {
                #[deprecated = "use a larger type"]
                #[allow(clippy::should_implement_trait)]
                fn add(&self, a: i8, b: i8) -> i8;
                #[cfg(feature = "events")]
                #[event]
                fn note(&self);
            }
        });
        assert!(!text.contains("[event]"), "an attribute of this macro is left over: {text}");
        assert_eq!(text.matches("use a larger type").count(), 5);
        assert_eq!(text.matches("should_implement_trait").count(), 5);
        // The trait, its implementation for Arc, the client, the client's functions in two modes,
        // its methods in four, and the description.
        assert_eq!(text.matches(r#"feature = "sums""#).count(), 10);
        // The method: in the trait, for Arc, in the registration, in the description, and in three
        // modes of the client.
        assert_eq!(text.matches(r#"feature = "events""#).count(), 7);
    }
}
