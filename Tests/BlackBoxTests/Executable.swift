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
  static let compact = Executable("wal-compact")
  static let split = Executable("snapshot-split")
  static let kv = Executable("kv")
  static let clientExample = Executable("client-example")

  static let shell = Executable(url: URL(fileURLWithPath: "/bin/sh"))

  let url: URL

  private init(url: URL) { self.url = url }

  /// A program of the system, or of any place when its path is given.
  ///
  /// - Throws: `Missing`: a test that needs it fails, it is not left out.
  static func installed(_ name: String) throws -> Executable {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
    if name.contains("/") { return Executable(url: URL(fileURLWithPath: name)) }
    let directories = path.split(separator: ":").map { String($0) }
    for directory in directories + ["/usr/bin", "/bin", "/usr/sbin", "/sbin"] {
      let candidate = "\(directory)/\(name)"
      if FileManager.default.isExecutableFile(atPath: candidate) {
        return Executable(url: URL(fileURLWithPath: candidate))
      }
    }
    throw Missing(name: name)
  }

  struct Missing: Error, CustomStringConvertible {
    let name: String

    var description: String { "\(name) is missing: `scripts/setup test` installs it" }
  }

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
    _ arguments: [String], input: Data? = nil, environment: [String: String]? = nil,
    in directory: TemporaryDirectory
  ) async throws -> Outcome {
    let running = try RunningProcess(
      self, arguments, input: input, environment: environment, in: directory)
    return try await running.outcome()
  }
}
