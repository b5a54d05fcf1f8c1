/// A key that is listed, valid as long as the call runs that it is given to.
public struct ListedKey {
  public let key: UnsafeRawBufferPointer
  public let version: UInt64
  /// Bytes of the value.
  public let size: Int
}

extension Index {
  /// Keys that are looked at for one page. Above it the page ends early: many may be hidden.
  static let listedKeysMax = 40_000

  /// Sees to it that keys can be listed: builds the directory if there is none.
  ///
  /// - Parameter listener: called once, on any thread, when the answer is `building` and it would be
  ///   another now.
  public func prepareListing(
    _ listener: @escaping @Sendable () -> Void
  ) -> KeyDirectory.Readiness {
    directory.prepare(
      { [self] directory in
        var build = KeyDirectoryBuild(self, directory)
        return build.run()
      }, listener: listener)
  }

  /// Lists keys of a range in ascending order, each with what it has when its turn comes; those that
  /// have expired by `now` (milliseconds since 1970) or are gone are passed over. Whoever goes on
  /// behind what is returned, until that is nil, has met every key once that was there all the time;
  /// one that was created or removed meanwhile, or not, at most once.
  ///
  /// Takes no lock for longer than a few dozen keys.
  ///
  /// - Parameter body: called with each key; returns whether there is room for another.
  /// - Returns: the key behind which the next page begins; nil when there was nothing more.
  /// - Precondition: `prepareListing` has said `ready` before.
  public func listKeys(
    in range: KeyRange, now: UInt64, _ body: (ListedKey) -> Bool
  ) -> [UInt8]? {
    var start = range.start
    var isIncluded = range.includesStart
    var run = KeyRun()
    // As much as a leaf holds, mostly, so that memory is not asked for with the lock held.
    run.reserveCapacity(keys: 256, bytes: 16 << 10)
    var lookedAt = 0
    /// Set when there is no room for another.
    var last: [UInt8]?
    while lookedAt < Self.listedKeysMax {
      run.removeAll()
      directory.copy(from: start, isIncluded: isIncluded, to: range.end, into: &run)
      guard !run.isEmpty else { return nil }
      for number in 0..<run.count {
        let isMore = run.withKey(at: number) { key in
          guard let listed = listed(key, now: now) else { return false }
          if last != nil { return true }
          if !body(listed) { last = Array(key) }
          return false
        }
        if isMore { return last }
      }
      lookedAt += run.count
      run.withKey(at: run.count - 1) { start = Array($0) }
      isIncluded = false
    }
    return last ?? start
  }

  private func listed(_ key: UnsafeRawBufferPointer, now: UInt64) -> ListedKey? {
    var listed: ListedKey?
    _ = read(key, hasher(key)) { view in
      if let expiry = view.expiryMilliseconds, expiry <= now { return }
      listed = ListedKey(key: key, version: view.version, size: view.value.count)
    }
    return listed
  }
}

extension KeyDirectory {
  /// As that of the sorted keys, with arrays for bounds.
  func copy(
    from start: [UInt8], isIncluded: Bool, to end: [UInt8]?, into run: inout KeyRun
  ) {
    start.withUnsafeBytes { start in
      guard let end else { return copy(from: start, isIncluded: isIncluded, to: nil, into: &run) }
      end.withUnsafeBytes { copy(from: start, isIncluded: isIncluded, to: $0, into: &run) }
    }
  }
}
