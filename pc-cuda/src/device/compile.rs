//! Compilation at run time by NVRTC, and the cache of what it made.
#![allow(unsafe_code)]

use std::{
    env,
    ffi::{CStr, CString, c_char},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process,
};

use cudarc::nvrtc::sys;
use pc_core::Result;

use crate::device::failed;

/// Compiled kernels in a folder, each with a checksum. A missing, damaged or unwritable folder
/// costs time, never correctness.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: Option<PathBuf>,
}

const MAGIC: &[u8; 8] = b"pc-cuda1";

impl Cache {
    /// `$PC_CUDA_CACHE`, or `pc-cuda` in the user's folder for caches.
    pub(crate) fn of_user() -> Self {
        let folder = env::var_os("PC_CUDA_CACHE").map(PathBuf::from).or_else(|| {
            let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            base.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))
                .map(|base| base.join("pc-cuda"))
        });
        Self { folder }
    }

    /// The kernels of one family, from the cache where it has them.
    pub(crate) fn get_or_compile(
        &self,
        family: &str,
        source: &str,
        architecture: &str,
    ) -> Result<Vec<u8>> {
        let compiler = version()?;
        let path = self.path(family, source, architecture, compiler);
        if let Some(code) = path.as_deref().and_then(read) {
            return Ok(code);
        }
        self.compile(family, source, architecture, path.as_deref())
    }

    /// The same, whatever the cache has.
    pub(crate) fn compile_anew(
        &self,
        family: &str,
        source: &str,
        architecture: &str,
    ) -> Result<Vec<u8>> {
        let path = self.path(family, source, architecture, version()?);
        self.compile(family, source, architecture, path.as_deref())
    }

    fn compile(
        &self,
        family: &str,
        source: &str,
        architecture: &str,
        path: Option<&Path>,
    ) -> Result<Vec<u8>> {
        let code = compile(family, source, architecture)?;
        if let Some(path) = path {
            // The next program compiles again where this fails, and that is all.
            let _ = write(path, &code);
        }
        Ok(code)
    }

    fn path(
        &self,
        family: &str,
        source: &str,
        architecture: &str,
        compiler: (i32, i32),
    ) -> Option<PathBuf> {
        let key = hash(source.as_bytes());
        let (major, minor) = compiler;
        Some(
            self.folder
                .as_ref()?
                .join(format!("{family}-{key:016x}-{architecture}-nvrtc{major}.{minor}.cubin")),
        )
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The code in a file of the cache; none where it is not whole.
fn read(path: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(path).ok()?;
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (sum, code) = rest.split_first_chunk::<8>()?;
    (magic == MAGIC && u64::from_le_bytes(*sum) == hash(code) && !code.is_empty())
        .then(|| code.to_vec())
}

/// Writes beside the file and renames, so that no reader sees half of it.
fn write(path: &Path, code: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().ok_or_else(|| std::io::Error::other("no folder"))?;
    fs::create_dir_all(folder)?;
    let thread = format!("{:?}", std::thread::current().id());
    let beside = path.with_extension(format!(
        "{}-{}",
        process::id(),
        thread.replace(|c: char| !c.is_ascii_digit(), "")
    ));
    let mut file = fs::File::create(&beside)?;
    file.write_all(MAGIC)?;
    file.write_all(&hash(code).to_le_bytes())?;
    file.write_all(code)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&beside, path).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

fn check(what: &str, status: sys::nvrtcResult) -> Result<()> {
    if status == sys::nvrtcResult::NVRTC_SUCCESS {
        Ok(())
    } else {
        Err(failed(format!("NVRTC: {what}: {status:?}")))
    }
}

fn version() -> Result<(i32, i32)> {
    // SAFETY: only looks for the library.
    if !unsafe { sys::is_culib_present() } {
        return Err(failed(
            "the kernels have to be compiled at first use, and NVRTC was not found on this machine \
             (libnvrtc)",
        ));
    }
    let (mut major, mut minor) = (0, 0);
    // SAFETY: into locals.
    check("asking for its version", unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) })?;
    Ok((major, minor))
}

/// A program under compilation, destroyed in the end.
struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made in `compile`, used by nobody else.
        unsafe {
            let _ = sys::nvrtcDestroyProgram(&raw mut self.0);
        }
    }
}

fn compile(family: &str, source: &str, architecture: &str) -> Result<Vec<u8>> {
    let text = |text: String| CString::new(text).map_err(|error| failed(error.to_string()));
    let (source, name) = (text(source.to_owned())?, text(format!("{family}.cu"))?);
    let options =
        [text(format!("--gpu-architecture={architecture}"))?, text("--std=c++17".to_owned())?];
    let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    let mut program = Program(std::ptr::null_mut());
    // SAFETY: the strings end with zeros and outlive the calls; buffers have the sizes that were
    // asked for.
    unsafe {
        let none = std::ptr::null();
        check(
            "making a program",
            sys::nvrtcCreateProgram(
                &raw mut program.0,
                source.as_ptr(),
                name.as_ptr(),
                0,
                none,
                none,
            ),
        )?;
        let compiled =
            sys::nvrtcCompileProgram(program.0, pointers.len() as i32, pointers.as_ptr());
        if compiled != sys::nvrtcResult::NVRTC_SUCCESS {
            let mut size = 0;
            check("asking for its log", sys::nvrtcGetProgramLogSize(program.0, &raw mut size))?;
            let mut log = vec![0u8; size + 1];
            check(
                "asking for its log",
                sys::nvrtcGetProgramLog(program.0, log.as_mut_ptr().cast()),
            )?;
            let log = CStr::from_bytes_until_nul(&log)
                .map(|log| log.to_string_lossy().into_owned())
                .unwrap_or_default();
            return Err(failed(format!(
                "{family}.cu does not compile for {architecture} ({compiled:?}):\n{log}"
            )));
        }
        let mut size = 0;
        check("asking for the code", sys::nvrtcGetCUBINSize(program.0, &raw mut size))?;
        let mut code = vec![0u8; size];
        check("asking for the code", sys::nvrtcGetCUBIN(program.0, code.as_mut_ptr().cast()))?;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_files_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("a.cubin");
        assert!(read(&path).is_none());
        write(&path, b"machine code").unwrap();
        assert_eq!(read(&path).unwrap(), b"machine code");
        // Nothing is left beside it.
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(
                read(&path).is_none(),
                "{length} bytes of {} were taken for whole",
                whole.len()
            );
        }
        for index in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[index] ^= 4;
            fs::write(&path, &bytes).unwrap();
            assert!(read(&path).is_none(), "byte {index} was changed unnoticed");
        }
    }

    #[test]
    fn names_tell_sources_architectures_and_compilers_apart() {
        let cache = Cache { folder: Some(PathBuf::from("cache")) };
        let path = |source, architecture, compiler| {
            cache.path("learn", source, architecture, compiler).unwrap()
        };
        let one = path("a", "sm_80", (13, 0));
        assert_ne!(one, path("b", "sm_80", (13, 0)));
        assert_ne!(one, path("a", "sm_90a", (13, 0)));
        assert_ne!(one, path("a", "sm_80", (13, 1)));
        assert!(Cache { folder: None }.path("learn", "a", "sm_80", (13, 0)).is_none());
    }

    /// Every family as a machine with a GPU compiles it at first use, which takes the compiler
    /// alone. `cargo xtask test` brings one, and sets `PC_CUDA_NVRTC` so that this cannot be passed
    /// over.
    #[test]
    fn kernels_compile_at_run_time_and_are_cached() {
        use crate::device::Family;
        if let Err(error) = version() {
            assert!(error.to_string().contains("NVRTC"), "{error}");
            assert!(env::var_os("PC_CUDA_NVRTC").is_none(), "{error}");
            println!("skipped: {error}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { folder: Some(folder.path().to_owned()) };
        for family in [
            Family::RelaxCluster,
            Family::RelaxGemm,
            Family::RelaxWgmma,
            Family::RelaxGraph,
            Family::Learn,
            Family::Tensor,
            Family::Primitives,
            Family::Layers,
            Family::Pooled,
            Family::Functions,
        ] {
            for architecture in ["sm_80", "sm_89", "sm_90a"] {
                let code =
                    cache.get_or_compile(family.name(), &family.source(), architecture).unwrap();
                assert_eq!(&code[..4], b"\x7fELF", "{family:?} for {architecture}");
            }
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 30);

        // What is there is taken, unless it is damaged, and then it is made again.
        let path =
            cache.path("tensor", &Family::Tensor.source(), "sm_80", version().unwrap()).unwrap();
        let get = || cache.get_or_compile("tensor", &Family::Tensor.source(), "sm_80").unwrap();
        let code = get();
        write(&path, b"not what a compiler makes").unwrap();
        assert_eq!(get(), b"not what a compiler makes");
        fs::write(&path, b"pc-cuda1 damaged").unwrap();
        assert_eq!(get(), code);
        assert_eq!(read(&path).unwrap(), code);

        let error = compile("broken", "__global__ void f() { this is no CUDA; }", "sm_80")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("broken.cu does not compile for sm_80") && error.contains("error:"),
            "{error}"
        );
    }

    #[test]
    fn threads_that_write_the_same_entry_leave_a_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.cubin");
        let code = vec![7u8; 1 << 16];
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        write(&path, &code).unwrap();
                        assert_eq!(read(&path).unwrap(), code);
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
