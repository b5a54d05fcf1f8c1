import Foundation
import Logging
import Server

/// Serves a known number of requests and ends, for tools that count what a process does:
/// `request-cost DIRECTORY get|set|put COUNT DEPTH`, DEPTH requests at a time over one connection.
/// The client is another process, so that only the node's own work is counted.
let words = CommandLine.arguments
guard words.count == 5 || words.count == 6, let kind = RequestKind(rawValue: words[2]),
  let count = Int(words[3]), let depth = Int(words[4])
else {
  print("usage: request-cost DIRECTORY get|set|put COUNT DEPTH")
  exit(64)
}
if words.count == 6, let port = UInt16(words[5]) {
  LoadClient(port: port).run(kind, count: count, depth: depth)
  exit(0)
}

/// A new process with the same arguments and the port.
func runClient(port: Int) -> Int32 {
  var id: pid_t = 0
  let arguments = (words + ["\(port)"]).map { strdup($0) } + [nil]
  guard posix_spawn(&id, words[0], nil, nil, arguments, environ) == 0 else { return 1 }
  var status: Int32 = 0
  waitpid(id, &status, 0)
  return status == 0 ? 0 : 1
}

// An asynchronous main program would turn its first thread into one for signals, which valgrind does
// not survive.
Task.detached {
  var configuration = Configuration(dataDirectory: words[1], host: "127.0.0.1", port: 0)
  configuration.threads = 1
  let logger = Logger(label: "request-cost") { _ in SwiftLogNoOpLogHandler() }
  let node = try await Node.start(configuration, logger: logger) { fatalError("\($0)") }
  let status = runClient(port: node.port!)
  try await node.stop()
  exit(status)
}
while true { pause() }
