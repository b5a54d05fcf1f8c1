/// Why there is no run, or none that means anything.
public enum BenchError: Error, CustomStringConvertible, Equatable {
  /// What was asked for does not fit together.
  case unusable(String)
  /// The target does not have what was asked for, or not yet.
  case unsupported(String)
  /// The target does not answer, or not as it should.
  case target(String)
  /// The system refuses something that the client needs.
  case system(String)

  public var description: String {
    switch self {
    case .unusable(let text), .unsupported(let text), .target(let text), .system(let text): text
    }
  }
}
