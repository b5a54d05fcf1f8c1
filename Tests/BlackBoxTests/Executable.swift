import Foundation
import Testing

/// What a process said and how it ended.
struct Outcome {
  var status: Int32
  var output: String
  var errors: String

  var lines: [Substring] { output.split(separator: "\n") }
}

/// A program that was built with the tests.
struct Executable {
  static let dump = Executable("wal-dump")
  static let writer = Executable("log-writer")

  static let shell = Executable(url: URL(fileURLWithPath: "/bin/sh"))

  let url: URL

  private init(url: URL) { self.url = url }

  /// Beside the tests, or around them where tests are a bundle.
  private init(_ name: String) {
    let tests = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath()
    var directory = tests.deletingLastPathComponent()
    while directory.path != "/" {
      let candidate = directory.appendingPathComponent(name)
      if FileManager.default.isExecutableFile(atPath: candidate.path) {
        url = candidate
        return
      }
      directory.deleteLastPathComponent()
    }
    preconditionFailure("\(name) is not beside \(tests.path)")
  }

  /// Runs the program to its end.
  func run(
    _ arguments: [String], input: Data? = nil, in directory: TemporaryDirectory
  ) async throws -> Outcome {
    let running = try RunningProcess(self, arguments, input: input, in: directory)
    return try await running.outcome()
  }
}
