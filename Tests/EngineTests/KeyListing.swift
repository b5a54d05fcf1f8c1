import Engine
import WAL

extension Index {
  /// Returns when the keys can be listed.
  func waitUntilListed() async {
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      switch prepareListing({ continuation.resume() }) {
      case .ready: continuation.resume()
      case .building: break
      case .unavailable: preconditionFailure("no thread")
      }
    }
  }

  /// All keys of a range, listed in pages of that many.
  func listed(
    prefix: [UInt8] = [], after: [UInt8] = [], until: [UInt8]? = nil, now: UInt64 = 0,
    limit: Int = 1_000
  ) -> [[UInt8]] {
    var keys: [[UInt8]] = []
    var next: [UInt8]? = after
    while let start = next {
      var lines = 0
      next = listKeys(in: KeyRange(prefix: prefix, after: start, until: until), now: now) {
        keys.append(Array($0.key))
        lines += 1
        return lines < limit
      }
      precondition(lines <= limit)
    }
    return keys
  }
}
