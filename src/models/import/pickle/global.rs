//! The closed list of names that a pickle may ask for.
//!
//! Promise: a name is only ever a variant of an enum here, for which there is code of ours. Nothing is looked up, loaded or called by its name;
//! what is not on the list is refused.

use super::fault::PickleFault;

/// A name that is known. Older versions of the tools had other modules for the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    Class(Class),
    Call(Call),
    /// `builtins.object`, the base that older protocols name.
    Object,
    /// `numpy.ndarray`, as an argument.
    NdArray,
    /// `numpy.random._mt19937.MT19937`, as an argument.
    MersenneTwister,
}

/// A class whose instances have attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    StandardScaler,
    MinMaxScaler,
    MaxAbsScaler,
    RobustScaler,
    IsolationForest,
    KMeans,
    Pipeline,
    /// A tree as an estimator: what it was told.
    TreeEstimator,
    /// The tree itself: its nodes.
    Tree,
    /// joblib's note that an array's bytes follow in the file.
    ArrayWrapper,
    /// A random generator that an estimator was given; nothing of it is used.
    RandomState,
}

/// A function, or a class that is made by calling it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// `copyreg._reconstructor`
    Reconstructor,
    /// `copyreg.__newobj__`
    NewObject,
    /// `_codecs.encode`, by which protocols 0 to 2 write bytes.
    Encode,
    /// `builtins.bytes`, by which they write no bytes.
    Bytes,
    OrderedDict,
    /// `numpy.core.multiarray._reconstruct`
    ReconstructArray,
    /// `numpy.core.numeric._frombuffer`
    FromBuffer,
    /// `numpy.core.multiarray.scalar`
    Scalar,
    /// `numpy.dtype`
    ItemType,
    /// `sklearn.tree._tree.Tree`
    Tree,
    /// The two of `numpy.random._pickle`.
    RandomState,
    BitGenerator,
}

impl Global {
    pub(super) fn of(module: &str, name: &str) -> Result<Global, PickleFault> {
        let class = |class| Ok(Global::Class(class));
        let call = |call| Ok(Global::Call(call));
        match (module, name) {
            ("sklearn.preprocessing._data" | "sklearn.preprocessing.data", _) => match name {
                "StandardScaler" => class(Class::StandardScaler),
                "MinMaxScaler" => class(Class::MinMaxScaler),
                "MaxAbsScaler" => class(Class::MaxAbsScaler),
                "RobustScaler" => class(Class::RobustScaler),
                _ => refused(module, name),
            },
            ("sklearn.ensemble._iforest" | "sklearn.ensemble.iforest", "IsolationForest") => {
                class(Class::IsolationForest)
            }
            ("sklearn.cluster._kmeans" | "sklearn.cluster.k_means_", "KMeans" | "MiniBatchKMeans") => {
                class(Class::KMeans)
            }
            ("sklearn.pipeline", "Pipeline") => class(Class::Pipeline),
            ("sklearn.tree._classes" | "sklearn.tree.tree", "ExtraTreeRegressor") => class(Class::TreeEstimator),
            ("sklearn.tree._tree", "Tree") => call(Call::Tree),
            ("joblib.numpy_pickle" | "sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper") => {
                class(Class::ArrayWrapper)
            }
            ("copyreg" | "copy_reg", "_reconstructor") => call(Call::Reconstructor),
            ("copyreg" | "copy_reg", "__newobj__") => call(Call::NewObject),
            ("builtins" | "__builtin__", "object") => Ok(Global::Object),
            ("builtins" | "__builtin__", "bytes") => call(Call::Bytes),
            ("_codecs", "encode") => call(Call::Encode),
            ("collections", "OrderedDict") => call(Call::OrderedDict),
            ("numpy._core.multiarray" | "numpy.core.multiarray", "_reconstruct") => call(Call::ReconstructArray),
            ("numpy._core.multiarray" | "numpy.core.multiarray", "scalar") => call(Call::Scalar),
            ("numpy._core.numeric" | "numpy.core.numeric", "_frombuffer") => call(Call::FromBuffer),
            ("numpy", "dtype") => call(Call::ItemType),
            ("numpy", "ndarray") => Ok(Global::NdArray),
            ("numpy.random._pickle", "__randomstate_ctor") => call(Call::RandomState),
            ("numpy.random._pickle", "__bit_generator_ctor") => call(Call::BitGenerator),
            ("numpy.random._mt19937", "MT19937") => Ok(Global::MersenneTwister),
            _ => refused(module, name),
        }
    }
}

impl Class {
    pub(super) fn name(self) -> &'static str {
        match self {
            Class::StandardScaler => "StandardScaler",
            Class::MinMaxScaler => "MinMaxScaler",
            Class::MaxAbsScaler => "MaxAbsScaler",
            Class::RobustScaler => "RobustScaler",
            Class::IsolationForest => "IsolationForest",
            Class::KMeans => "KMeans",
            Class::Pipeline => "Pipeline",
            Class::TreeEstimator => "ExtraTreeRegressor",
            Class::Tree => "Tree",
            Class::ArrayWrapper => "NumpyArrayWrapper",
            Class::RandomState => "RandomState",
        }
    }
}

fn refused(module: &str, name: &str) -> Result<Global, PickleFault> {
    // As much of it as a person reads; what a terminal would obey is not passed on.
    let shown = |text: &str| text.chars().take(100).flat_map(char::escape_debug).collect::<String>();
    Err(PickleFault::Global { name: format!("{}.{}", shown(module), shown(name)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_run_code_is_refused_by_its_name() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("builtins", "getattr"),
            ("subprocess", "Popen"),
            ("numpy", "load"),
            ("numpy._core.multiarray", "fromfile"),
            ("joblib.numpy_pickle", "load"),
            ("sklearn.preprocessing._data", "os"),
            ("sklearn.preprocessing", "StandardScaler"),
            ("sklearn.preprocessing._function_transformer", "FunctionTransformer"),
        ] {
            let fault = Global::of(module, name).unwrap_err().to_string();
            assert!(fault.starts_with(&format!("it asks for `{module}.{name}`, ")), "{fault}");
        }
    }

    #[test]
    fn a_refused_name_cannot_write_to_the_terminal() {
        let fault = Global::of("\u{1b}[2J", &"x".repeat(1 << 20)).unwrap_err().to_string();
        assert!(fault.len() < 300 && !fault.contains('\u{1b}'), "{fault}");
    }
}
