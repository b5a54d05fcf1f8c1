/// One write of a batch.
public enum KVChange: Hashable, Sendable {
  /// - Parameter ttlSeconds: the key is absent after so many; nil: it stays.
  case put([UInt8], [UInt8], ttlSeconds: UInt64? = nil)
  case delete([UInt8])

  public var key: [UInt8] {
    switch self {
    case .put(let key, _, _), .delete(let key): key
    }
  }
}
