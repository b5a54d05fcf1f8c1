/// What must hold for a write to be done.
public enum KVCondition: Hashable, Sendable {
  /// `If-Match`: the key has this ETag; `*` for any.
  case matches(String)
  /// `If-None-Match`: the key does not have this ETag; `*`: it is absent.
  case matchesNot(String)

  /// The key is absent.
  public static let absent = KVCondition.matchesNot("*")
  /// The key is there, whatever its value.
  public static let present = KVCondition.matches("*")

  package var header: (name: String, value: String) {
    switch self {
    case .matches(let etag): ("If-Match", etag)
    case .matchesNot(let etag): ("If-None-Match", etag)
    }
  }
}
