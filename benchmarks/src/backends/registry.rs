//! The table of the backends, and everything that follows from it.

use std::fmt;

use pc_core::host::Element;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::host::Host;
use crate::{
    contract::{
        Adapter, OrAll, Precision, ScheduleKind, Support,
        check::{Checked, Subject},
        gradients::{Findings, LayerChain, Number, Ways},
        speed::{Case, Measured, Target, Timed},
        train::{Task, Trainee},
    },
    error::CommandError,
    models::ModelKind,
};

/// All names, whether this build has them or not.
const KNOWN: [&str; 5] = ["host", "burn", "tch", "dfdx", "cuda"];

/// Makes the enum, and hands every call on to the chosen one's adapter. A line is `/// What it is.
/// Variant = "name" by Adapter where feature = "name";`.
macro_rules! backends {
    ($($(#[$meta:meta])* $variant:ident = $name:literal by $adapter:ty $(where $cfg:meta)?;)+) => {
        /// What computes.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum Backend {
            $($(#[cfg($cfg)])? $(#[$meta])* $variant,)+
        }

        impl Backend {
            /// All that this build has.
            pub const ALL: &[Self] = &[$($(#[cfg($cfg)])? Self::$variant),+];

            /// Its name on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $($(#[cfg($cfg)])? Self::$variant => $name,)+
                }
            }

            /// What it has.
            pub fn support(self) -> Support {
                match self {
                    $($(#[cfg($cfg)])? Self::$variant => <$adapter>::support(),)+
                }
            }

            /// As [`Adapter::ready`].
            ///
            /// # Errors
            /// Why this machine cannot run it.
            pub fn ready(self) -> Result<(), CommandError> {
                match self {
                    $($(#[cfg($cfg)])? Self::$variant => <$adapter>::ready(),)+
                }
            }

            /// As [`Adapter::trainee`].
            ///
            /// # Errors
            /// As there; what this backend does not have.
            pub fn trainee<F: Element>(self, task: &Task) -> Result<Box<dyn Trainee<F>>,
            CommandError> {
                self.require(task.model, task.rule, Precision::of::<F>())?;
                if self != Self::Host {
                    let honours = self.support().details;
                    task.details.refuse_on(self.name(), task.optimiser, honours)?;
                }
                match self {
                    $($(#[cfg($cfg)])? Self::$variant => <$adapter>::trainee(task),)+
                }
            }

            /// As [`Adapter::checked`].
            ///
            /// # Errors
            /// As there.
            pub fn checked<F: Element>(self, subject: &Subject<F>) -> Result<Box<dyn Checked<F>>,
            CommandError> {
                match self {
                    $($(#[cfg($cfg)])? Self::$variant => <$adapter>::checked(subject),)+
                }
            }

            /// As [`Adapter::gradients`].
            ///
            /// # Errors
            /// As there.
            pub fn gradients<F: Number>(
                self,
                net: LayerChain<F>,
                ways: &Ways,
            ) -> Result<Findings<F>, CommandError> {
                match self {
                    $($(#[cfg($cfg)])? Self::$variant => <$adapter>::gradients(net, ways),)+
                }
            }

            /// As [`Adapter::timed`].
            ///
            /// # Errors
            /// As there; what this backend does not have.
            pub fn timed<F: Element>(self, case: &Case, rules: &[ScheduleKind])
            -> Result<Box<dyn Timed>, CommandError> {
                case.fits()?;
                self.one_of("--model", case.kind, self.support().timed)?;
                if let (Some(flag), false) = (case.varied(), self.support().varied) {
                    return Err(CommandError::input(format!(
                        "{flag}: the backend {self} times its nets as they are; host can vary them"
                    )));
                }
                match self {
                    $($(#[cfg($cfg)])? Self::$variant => <$adapter>::timed::<F>(case, rules),)+
                }
            }

            /// As [`Adapter::targets`].
            pub fn targets(self, measured: &[Measured]) -> Vec<Target> {
                match self {
                    $($(#[cfg($cfg)])? Self::$variant => <$adapter>::targets(measured),)+
                }
            }
        }
    };
}

backends! {
    /// This program's own CPU backend, of pc-core.
    #[default]
    Host = "host" by Host;
    /// Burn's modules with marked vertices, on its CPU backend.
    Burn = "burn" by super::burn::Burn where feature = "burn";
    /// libtorch, its autograd graphs relaxed by pc-tch.
    Tch = "tch" by super::tch::Tch where feature = "tch";
    /// dfdx's modules, read off their types by pc-dfdx.
    Dfdx = "dfdx" by super::dfdx::Dfdx where all(feature = "dfdx", not(test));
    /// An NVIDIA GPU, through pc-cuda.
    Cuda = "cuda" by super::cuda::Cuda where feature = "cuda";
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Backend {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Backend {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl std::str::FromStr for Backend {
    type Err = String;

    /// Tells a backend that this build lacks from one that nobody knows.
    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|backend| backend.name() == name).ok_or_else(|| {
            let has = list(Self::ALL);
            if KNOWN.contains(&name) {
                format!("this build lacks the backend {name}; it has {has}")
            } else {
                format!("no backend is called {name}; this build has {has}")
            }
        })
    }
}

fn list<T: fmt::Display>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Backend {
    /// Those that are chosen: one must be able to run here; of all, those that can.
    ///
    /// # Errors
    /// One that cannot run here.
    pub fn chosen(choice: OrAll<Self>) -> Result<Vec<Self>, CommandError> {
        match choice {
            OrAll::One(one) => one.ready().map(|()| vec![one]),
            OrAll::All => {
                Ok(Self::ALL.iter().copied().filter(|backend| backend.ready().is_ok()).collect())
            }
        }
    }

    /// Refuses what this backend does not have.
    ///
    /// # Errors
    /// A message that names what it has instead.
    pub fn require(
        self,
        model: ModelKind,
        rule: ScheduleKind,
        precision: Precision,
    ) -> Result<(), CommandError> {
        let Support { models, rules, precisions, .. } = self.support();
        self.one_of("--model", model, models)?;
        self.one_of("--schedule", rule, rules)?;
        self.one_of("--precision", precision, precisions)
    }

    /// The chosen among what this backend has and `all`: of all, what it has; one that it lacks is
    /// refused.
    ///
    /// # Errors
    /// A message that names what it has instead.
    pub fn among<T: Copy + PartialEq + fmt::Display>(
        self,
        flag: &str,
        choice: OrAll<T>,
        all: &[T],
        has: &[T],
    ) -> Result<Vec<T>, CommandError> {
        match choice {
            OrAll::All => Ok(all.iter().copied().filter(|one| has.contains(one)).collect()),
            OrAll::One(one) => self.one_of(flag, one, has).map(|()| vec![one]),
        }
    }

    fn one_of<T: PartialEq + fmt::Display>(
        self,
        flag: &str,
        one: T,
        has: &[T],
    ) -> Result<(), CommandError> {
        if has.contains(&one) {
            return Ok(());
        }
        let message =
            format!("{flag} {one}: the backend {self} does not have it; it has {}", list(has));
        let entry = flag.trim_start_matches('-').to_owned();
        Err(CommandError::Entry { entry, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::speed::TimedKind;

    #[test]
    fn a_backend_that_is_missing_is_told_from_one_that_is_unknown() {
        assert_eq!("host".parse(), Ok(Backend::Host));
        assert_eq!(OrAll::<Backend>::All, "all".parse().unwrap());
        let missing = KNOWN
            .into_iter()
            .filter(|name| !Backend::ALL.iter().any(|backend| backend.name() == *name));
        for name in missing {
            let error = name.parse::<Backend>().unwrap_err();
            assert!(
                error.starts_with(&format!("this build lacks the backend {name}; it has host")),
                "{error}"
            );
        }
        assert!("gpu".parse::<Backend>().unwrap_err().starts_with("no backend is called gpu"));
    }

    /// Whoever asks, and not only the command.
    #[test]
    fn a_net_that_a_backend_does_not_time_is_refused_by_name() {
        for &backend in Backend::ALL {
            for &kind in TimedKind::ALL {
                let case = Case::new(kind, 1);
                if backend.support().timed.contains(&kind) {
                    continue;
                }
                let error = backend.timed::<f32>(&case, &[]).map(|_| ()).unwrap_err().to_string();
                let begin = format!("--model {kind}: the backend {backend} does not have it");
                assert!(error.starts_with(&begin), "{error}");
            }
            let has = backend.support().timed.contains(&TimedKind::Vgg5);
            assert_eq!(has, backend == Backend::Host, "{backend}");
        }
    }

    #[test]
    fn what_a_backend_lacks_is_refused_with_what_it_has() {
        let host = Backend::Host;
        assert!(host.require(ModelKind::Lstm, ScheduleKind::Ipc, Precision::F64).is_ok());
        let has = [ModelKind::Mlp, ModelKind::Cnn];
        assert_eq!(host.among("--model", OrAll::All, &ModelKind::ALL, &has).unwrap(), has);
        let error =
            host.among("--model", OrAll::One(ModelKind::Rnn), &ModelKind::ALL, &has).unwrap_err();
        assert_eq!(error.status(), 2);
        assert_eq!(
            error.to_string(),
            "--model rnn: the backend host does not have it; it has mlp, cnn"
        );
    }
}
