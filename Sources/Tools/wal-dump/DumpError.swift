import WAL

/// Why the command cannot go on. Damage is none of these: that is a finding.
enum DumpError: Error, CustomStringConvertible {
  case log(WALError)
  case output(Int32)
  case message(String)

  var description: String {
    switch self {
    case .log(let error): "\(error)"
    case .output(let code): "standard output: cannot write: \(System.message(code))"
    case .message(let text): text
    }
  }
}

/// The exit codes, which scripts rely on.
enum Exit {
  static let clean: Int32 = 0
  static let unreadable: Int32 = 1
  static let torn: Int32 = 2
  static let corrupt: Int32 = 3
  static let different: Int32 = 4
}

/// Runs `body` with the errors of the log turned into the command's.
func reading<R: ~Copyable>(_ body: () throws(WALError) -> R) throws(DumpError) -> R {
  do {
    return try body()
  } catch {
    throw .log(error)
  }
}
