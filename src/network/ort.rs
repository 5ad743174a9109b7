//! ONNX Runtime, given a checked model: one picture in, feature maps and logits out.
//!
//! Its shared library is loaded when the program runs. tract's bound on the size of tensors does not
//! hold here: a hostile model may ask for as much memory as it likes.

use std::env;
use std::error::Error as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use ::ort::LoadDynamicError;
use ::ort::environment::Environment;
use ::ort::ep::ExecutionProviderDispatch;
use ::ort::logging::LogLevel;
use ::ort::session::builder::SessionBuilder;
use ::ort::session::{Session, SessionInputValue};
use ::ort::value::{DynValue, Tensor};
use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{TensorShapeProto, TypeProto, ValueInfoProto, type_proto};

use super::activations::Activations;
use super::backend::{Backend, Picture, Shape, Takes, Values};
use super::check::Checked;
use super::{backend, guard};
use crate::error::Error;
use crate::geometry::Size;

/// Loads the shared library.
///
/// # Errors
/// `Invalid` where it is missing, or is no ONNX Runtime or one that is too old.
pub(super) fn open(backend: Backend) -> crate::error::Result<()> {
    let told = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    let file = told.clone().unwrap_or_else(|| {
        format!("{}onnxruntime{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX).into()
    });
    // Networks are loaded side by side. Where the library cannot be opened, ort panics if it is asked
    // again, and once more when the program ends.
    static OPENED: OnceLock<Result<(), String>> = OnceLock::new();
    let opened = OPENED.get_or_init(|| {
        let opened = guard::catch(|| {
            let builder = ::ort::init_from(&file).map_err(|error| reason(&error))?;
            builder.with_telemetry(false).commit();
            // What matters comes back as an error; the library would also print it.
            let environment = Environment::current().map_err(|error| error.to_string())?;
            environment.set_log_level(LogLevel::Fatal);
            Ok(())
        });
        opened.unwrap_or_else(Err)
    });
    opened.clone().map_err(|why| {
        let place = match told {
            Some(_) => "ORT_DYLIB_PATH says so".to_owned(),
            None => "looked for beside the program and where the system keeps libraries, since \
                     ORT_DYLIB_PATH is not set"
                .to_owned(),
        };
        let package = match backend {
            Backend::Tract | Backend::Ort => "onnxruntime",
            Backend::OrtCuda | Backend::OrtTensorRt => "onnxruntime-gpu",
        };
        Error::invalid(format!(
            "cannot load ONNX Runtime 1.{} or later from {} ({place}): {why}; `pip install {package}` or a release \
             archive of ONNX Runtime has it, then set ORT_DYLIB_PATH to its .../libonnxruntime.so.1.x.y",
            ::ort::MINOR_VERSION,
            file.display()
        ))
    })
}

/// The loader's own words, where it could not load the file.
fn reason(error: &LoadDynamicError) -> String {
    match error {
        LoadDynamicError::Dlopen { error, .. } => {
            error.source().map_or_else(|| error.to_string(), |source| source.to_string())
        }
        _ => error.to_string(),
    }
}

/// A network ready to run.
#[derive(Debug)]
pub(super) struct Engine {
    backend: Backend,
    session: Session,
    /// The input tensor.
    input: DynValue,
    takes: Takes,
    shape: Shape,
}

impl Engine {
    /// Builds the network for pictures of `size` and runs it once.
    pub(super) fn new(
        backend: Backend,
        checked: &Checked,
        size: Size,
        threads: usize,
    ) -> Result<Self, String> {
        guard::catch(|| build(backend, checked, size, threads))
            .unwrap_or_else(|panic| Err(format!("ONNX Runtime panicked on it: {panic}")))
    }

    fn with_input(&mut self, write: &mut dyn FnMut(Picture)) -> ::ort::Result<()> {
        if self.takes.values == Values::Pixels {
            write(Picture::Bytes(self.input.try_extract_tensor_mut()?.1));
        } else {
            write(Picture::Floats(self.input.try_extract_tensor_mut()?.1));
        }
        Ok(())
    }

    fn run_session(&mut self, out: &mut Activations) -> ::ort::Result<()> {
        let outputs = self.session.run([SessionInputValue::from(&self.input)])?;
        let (_, maps) = outputs[0].try_extract_tensor()?;
        let (_, logits) = outputs[1].try_extract_tensor()?;
        let varies = || ::ort::Error::new("the shapes of its outputs depend on the picture");
        if maps.len() != self.shape.features.volume() || logits.len() != self.shape.classes {
            return Err(varies());
        }
        self.shape.features.copy(maps, &mut out.features);
        if let Some(early) = &self.shape.early {
            let (_, maps) = outputs[2].try_extract_tensor()?;
            if maps.len() != early.volume() {
                return Err(varies());
            }
            early.copy(maps, &mut out.early);
        }
        out.logits.clear();
        out.logits.extend_from_slice(logits);
        Ok(())
    }
}

impl backend::Engine for Engine {
    fn backend(&self) -> Backend {
        self.backend
    }

    fn takes(&self) -> Takes {
        self.takes
    }

    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn fill(&mut self, write: &mut dyn FnMut(Picture)) -> Result<(), String> {
        self.with_input(write).map_err(|error| explain(&error))
    }

    fn run(&mut self, out: &mut Activations) -> Result<(), String> {
        self.run_session(out).map_err(|error| explain(&error))
    }
}

fn build(
    backend: Backend,
    checked: &Checked,
    size: Size,
    threads: usize,
) -> Result<Engine, String> {
    let takes = Takes::plain(&checked.input);
    let dims = takes.dims(size);
    let mut session = session(backend, &encode(checked, dims), threads)?;
    let input = input(checked.input.bytes, dims).map_err(|error| explain(&error))?;
    let outputs = first_run(&mut session, &input).map_err(|error| explain(&error))?;
    let shape = Shape::new(&checked.head, [checked.head.pool.channels_last, false], &outputs)?;
    Ok(Engine { backend, session, input, takes, shape })
}

/// The model file of the checked network, for pictures of the shape `dims` only.
fn encode(checked: &Checked, dims: [usize; 4]) -> Vec<u8> {
    let dim = |side| Dimension {
        value: Some(dimension::Value::DimValue(side as i64)),
        ..Default::default()
    };
    let kind = if checked.input.bytes { DataType::Uint8 } else { DataType::Float };
    let tensor = type_proto::Tensor {
        elem_type: kind as i32,
        shape: Some(TensorShapeProto { dim: dims.map(dim).to_vec() }),
    };
    let kind =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    let mut proto = checked.proto.clone();
    if let Some(graph) = &mut proto.graph {
        // Weights that are listed as inputs, too, would not be taken for constants.
        graph.input = vec![ValueInfoProto {
            name: checked.input.name.clone(),
            r#type: Some(kind),
            ..Default::default()
        }];
    }
    proto.encode_to_vec()
}

fn session(backend: Backend, model: &[u8], threads: usize) -> Result<Session, String> {
    let mut builder = options(threads).map_err(|error| explain(&error))?;
    if let Some(provider) = provider(backend) {
        let provider = provider.error_on_failure();
        builder = builder.with_execution_providers([provider]).map_err(|error| {
            format!(
                "{} cannot be used: {}; it takes a GPU build of ONNX Runtime (`pip install onnxruntime-gpu`, on a \
                 Jetson NVIDIA's own) with its provider's libraries, and ORT_DYLIB_PATH set to it",
                backend.title(),
                backend::shorten(error.message().trim_end_matches('.').to_owned())
            )
        })?;
    }
    builder.commit_from_memory(model).map_err(|error| explain(&error))
}

fn options(threads: usize) -> ::ort::Result<SessionBuilder> {
    Ok(Session::builder()?
        .with_log_level(LogLevel::Fatal)?
        .with_intra_threads(threads)?
        // Without it sums of u8 * s8 saturate on x86-64 processors without VNNI.
        .with_precise_qmm()?)
}

/// The execution provider beside the processor's; [`Backend::missing_feature`] tells which were not compiled in.
fn provider(backend: Backend) -> Option<ExecutionProviderDispatch> {
    match backend {
        #[cfg(feature = "cuda")]
        Backend::OrtCuda => Some(::ort::ep::CUDA::default().build()),
        #[cfg(feature = "tensorrt")]
        Backend::OrtTensorRt => Some(::ort::ep::TensorRT::default().build()),
        _ => None,
    }
}

fn input(bytes: bool, dims: [usize; 4]) -> ::ort::Result<DynValue> {
    let volume = dims.iter().product();
    Ok(if bytes {
        Tensor::from_array((dims, vec![0u8; volume]))?.into_dyn()
    } else {
        Tensor::from_array((dims, vec![0f32; volume]))?.into_dyn()
    })
}

/// The shapes of the outputs.
fn first_run(session: &mut Session, input: &DynValue) -> ::ort::Result<Vec<Vec<usize>>> {
    let outputs = session.run([SessionInputValue::from(input)])?;
    let shape = |i: usize| -> ::ort::Result<Vec<usize>> {
        let (shape, _) = outputs[i].try_extract_tensor::<f32>()?;
        Ok(shape.iter().map(|&side| side as usize).collect())
    };
    (0..outputs.len()).map(shape).collect()
}

/// ONNX Runtime's error on one line of bearable length.
fn explain(error: &::ort::Error) -> String {
    backend::shorten(format!("ONNX Runtime cannot run it: {error}"))
}
