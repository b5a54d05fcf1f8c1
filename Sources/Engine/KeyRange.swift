/// Which keys are listed.
public struct KeyRange: Sendable {
  /// Where it begins, and whether that key is in it itself.
  let start: [UInt8]
  let includesStart: Bool
  /// What all its keys are below; nil for no bound.
  let end: [UInt8]?

  /// - Parameters:
  ///   - prefix: what the keys begin with.
  ///   - after: what they are above.
  ///   - until: what they are below; nil for no bound.
  public init(prefix: [UInt8] = [], after: [UInt8] = [], until: [UInt8]? = nil) {
    includesStart = after.lexicographicallyPrecedes(prefix)
    start = includesStart ? prefix : after
    let prefixEnd = Self.end(ofPrefix: prefix)
    end =
      switch (until, prefixEnd) {
      case (let until?, let prefixEnd?):
        until.lexicographicallyPrecedes(prefixEnd) ? until : prefixEnd
      default: until ?? prefixEnd
      }
  }

  /// The lowest string above all that begin with the prefix; nil when there is none.
  private static func end(ofPrefix prefix: [UInt8]) -> [UInt8]? {
    guard let last = prefix.lastIndex(where: { $0 < 0xFF }) else { return nil }
    return prefix[..<last] + [prefix[last] + 1]
  }
}
