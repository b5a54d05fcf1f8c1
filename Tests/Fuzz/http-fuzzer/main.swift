import Glibc

/// libFuzzer as a library: the build system wants to own the entry point.
@_silgen_name("LLVMFuzzerRunDriver")
func runFuzzer(
  _ count: UnsafeMutablePointer<CInt>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ body: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

var fuzzer = HTTPFuzzer(in: getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp")
var count = CommandLine.argc
var arguments = CommandLine.unsafeArgv
_ = runFuzzer(&count, &arguments) { start, count in
  let input = Array(UnsafeBufferPointer(start: start, count: count))
  MainActor.assumeIsolated { fuzzer.run(input) }
  return 0
}
