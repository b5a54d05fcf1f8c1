import WAL

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

// Appends to a log as a server would, for tests that need a process to start, watch and kill.
do {
  try LogFeeder(Arguments(CommandLine.arguments.dropFirst())).run()
} catch {
  let line = Array("log-writer: \(error)\n".utf8)
  write(2, line, line.count)
  exit(1)
}
