import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// How a node's process is started.
struct NodeLaunch: Sendable {
  /// A process that was started, and the two pipes to it.
  struct Child {
    var id: pid_t
    /// What it says on standard error.
    var errors: CInt
    /// Its standard input, which ends with this process, however that ends; then it stops by itself.
    var input: CInt
  }

  struct Refused: Error {
    var code: CInt
  }

  private let words: [String]
  private let environment: [String: String]

  init(program: String, configFile: String, node: ClusterNode, flags: [String]) {
    words =
      [
        program, "serve", "--config-file", configFile, "--http-addr", node.address, "--data-dir",
        node.dataDirectory, "--stop-with-input",
      ] + flags
    var environment = ProcessInfo.processInfo.environment
    // What names one node cannot name them all.
    for name in ["PORT", "NODE_ID", "NODE_TYPE", "FOLLOWER_URLS", "PEER_URLS"] {
      environment[name] = nil
    }
    self.environment = environment
  }

  /// One at a time: between the making of a pipe and its mark that no child gets it, no other process may
  /// be started, or that would keep the pipe open.
  private static let turn = Mutex(())

  func start() throws(Refused) -> Child {
    try Self.turn.withLock { (_) throws(Refused) in try startAlone() }
  }

  private func startAlone() throws(Refused) -> Child {
    let input = try Self.pipe()
    let errors: (read: CInt, write: CInt)
    do {
      errors = try Self.pipe()
    } catch {
      close(input.read)
      close(input.write)
      throw error
    }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    // The copies stay open in the child; the originals do not.
    posix_spawn_file_actions_adddup2(&actions, input.read, STDIN_FILENO)
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, errors.write, STDERR_FILENO)
    let (id, code) = spawn(&actions)
    close(input.read)
    close(errors.write)
    guard code == 0 else {
      close(input.write)
      close(errors.read)
      throw Refused(code: code)
    }
    return Child(id: id, errors: errors.read, input: input.write)
  }

  private func spawn(_ actions: inout posix_spawn_file_actions_t) -> (id: pid_t, code: CInt) {
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // Signals as a shell would have them, whatever this process does with its own.
    var (none, all) = (sigset_t(), sigset_t())
    sigemptyset(&none)
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    // A group of its own: a Ctrl-C is for this process alone, which tells each child once.
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(
      &attributes,
      Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))
    let arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    defer { for word in arguments { free(word) } }
    let variables: [UnsafeMutablePointer<CChar>?] =
      environment.map { strdup("\($0)=\($1)") } + [nil]
    defer { for variable in variables { free(variable) } }
    var id: pid_t = 0
    let code = posix_spawn(&id, words[0], &actions, &attributes, arguments, variables)
    return (id, code)
  }

  /// Both ends are closed in every child that does not get them on purpose.
  private static func pipe() throws(Refused) -> (read: CInt, write: CInt) {
    var ends: [CInt] = [0, 0]
    guard systemPipe(&ends) == 0 else { throw Refused(code: errno) }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    return (ends[0], ends[1])
  }
}

/// The system's, beside the method of that name.
private func systemPipe(_ ends: UnsafeMutablePointer<CInt>) -> CInt { pipe(ends) }
