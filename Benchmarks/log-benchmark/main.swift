import CChecksum
import Glibc
import WAL

/// What the log costs on this machine: `log-benchmark [DIRECTORY [PART…]]`, the parts being crc,
/// append, commit, batch and scan. The directory is on the disk to be measured; everything is written
/// to a new one inside it, which is removed at the end.
let arguments = CommandLine.arguments.dropFirst()
let directory = "\(arguments.first ?? ".")/log-benchmark-\(getpid())"
let parts = Set(arguments.dropFirst())
guard mkdir(directory, 0o755) == 0 else {
  perror(directory)
  exit(1)
}
defer { removeTree(directory) }

func part(_ name: String, _ title: String, _ body: () throws -> Void) rethrows {
  guard parts.isEmpty || parts.contains(name) else { return }
  // What an earlier part left in memory would otherwise be written during this one.
  sync()
  print(title)
  try body()
}

part("crc", "crc32c (\(String(cString: shiplog_crc32c_name())))") { ChecksumBenchmark.run() }
try part("commit", "commit, one writer, one record of 16 + 100 bytes a frame, synced") {
  try CommitBenchmark.run(directory)
}
try part("batch", "commit by records a frame, of 16 + 100 bytes, synced") {
  try CommitBenchmark.byBatch(directory)
}
try part("append", "append, 100-byte records, 1,000 a frame, never synced") {
  try AppendBenchmark.run(directory)
}
try part("scan", "read and verify, from the page cache") { try ScanBenchmark.run(directory) }
