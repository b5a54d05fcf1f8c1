import Foundation
import Synchronization
import Testing

/// A process that is running, and does not outlive its owner.
///
/// Not Foundation's `Process`: on Linux that learns of the end by a descriptor, which a process that
/// another test starts in this moment inherits, and then the end is not seen before both have ended.
final class RunningProcess: Sendable {
  let id: pid_t
  private let output: URL
  private let errors: URL
  /// Nil as long as it runs, or was not waited for.
  private let status = Mutex<Int32?>(nil)

  /// Its output goes to files, which never fill up as pipes do.
  ///
  /// - Parameter environment: all of it; that of the tests when nil.
  init(
    _ executable: Executable, _ arguments: [String], input: Data? = nil,
    environment: [String: String]? = nil, in directory: TemporaryDirectory
  ) throws {
    output = directory.freshFile("output")
    errors = directory.freshFile("errors")
    var inputPath = "/dev/null"
    if let input {
      let file = directory.freshFile("input")
      try input.write(to: file)
      inputPath = file.path
    }
    let (paths, modes) = (
      [inputPath, output.path, errors.path],
      [O_RDONLY, O_WRONLY | O_CREAT | O_TRUNC, O_WRONLY | O_CREAT | O_TRUNC]
    )
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for descriptor in 0..<3 {
      posix_spawn_file_actions_addopen(
        &actions, Int32(descriptor), paths[descriptor], modes[descriptor], 0o644)
    }
    // The threads that tests run on block signals, which a process would inherit.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var mask = sigset_t()
    sigemptyset(&mask)
    posix_spawnattr_setsigmask(&attributes, &mask)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    // The shell changes the directory and is then replaced.
    let shell = "/bin/sh"
    let change = [shell, "-c", "cd \"$0\" && exec \"$@\"", directory.url.path]
    let words: [UnsafeMutablePointer<CChar>?] =
      (change + [executable.url.path] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    let variables: [UnsafeMutablePointer<CChar>?] =
      (environment ?? ProcessInfo.processInfo.environment).map { strdup("\($0)=\($1)") } + [nil]
    defer { for variable in variables { free(variable) } }
    var id: pid_t = 0
    let code = posix_spawn(&id, shell, &actions, &attributes, words, variables)
    try #require(code == 0, "cannot start \(executable.url.path): error \(code)")
    self.id = id
  }

  deinit {
    guard status.withLock({ $0 == nil }) else { return }
    kill(id, SIGKILL)
    var code: Int32 = 0
    waitpid(id, &code, 0)
  }

  func send(_ signal: Int32) {
    status.withLock { if $0 == nil { kill(id, signal) } }
  }

  /// Waits for the end. A signal's number is negative.
  func outcome() async throws -> Outcome {
    let status = try await value(within: 60) { self.endedStatus() }
    return Outcome(status: status, output: try text(output), errors: try text(errors))
  }

  private func endedStatus() -> Int32? {
    status.withLock { status in
      var code: Int32 = 0
      if status == nil, waitpid(id, &code, WNOHANG) == id {
        status = code & 0x7F == 0 ? code >> 8 & 0xFF : -(code & 0x7F)
      }
      return status
    }
  }

  /// Waits until what it has said so far fulfils a condition.
  func output(until isFulfilled: (String) -> Bool) async throws -> String {
    try await value(within: 60) {
      let said = try self.text(self.output)
      return isFulfilled(said) ? said : nil
    }
  }

  /// Waits until what it has said on standard error fulfils a condition.
  ///
  /// - Throws: `Timeout`, also when it has ended without having said that.
  func errors(until isFulfilled: (String) -> Bool) async throws -> String {
    try await value(within: 60) {
      let hasEnded = self.endedStatus() != nil
      let said = try self.text(self.errors)
      if isFulfilled(said) { return said }
      if hasEnded { throw Timeout(said: try self.text(self.output), errors: said) }
      return nil
    }
  }

  /// What it has said on standard error so far.
  func errorsSoFar() throws -> String { try text(errors) }

  private func value<T>(within seconds: Double, _ ask: () throws -> T?) async throws -> T {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while ContinuousClock.now < deadline {
      if let value = try ask() { return value }
      try await Task.sleep(for: .milliseconds(2))
    }
    throw Timeout(said: try text(output), errors: try text(errors))
  }

  private func text(_ file: URL) throws -> String {
    // The process makes its files when it starts.
    guard FileManager.default.fileExists(atPath: file.path) else { return "" }
    return String(decoding: try Data(contentsOf: file), as: UTF8.self)
  }

  struct Timeout: Error {
    var said: String
    var errors: String
  }
}
