import WAL

/// One of the values that a key has at the same time, or the only one.
public struct KeyVersion: Hashable, Sendable {
  public var dot: Dot
  /// What whoever wrote it knew of this key: it replaces all of that. The dot stands for itself: there may be
  /// writes of the same log before it that are not replaced.
  public var clock: VersionVector
  /// A hybrid logical clock: which of several is the newest. Above those of all that it replaces.
  public var stamp: UInt64
  /// Milliseconds since 1970.
  public var expiry: UInt64?
  public var value: [UInt8]

  public init(
    dot: Dot, clock: VersionVector, stamp: UInt64, expiry: UInt64? = nil, value: [UInt8]
  ) {
    self.dot = dot
    self.clock = clock
    self.stamp = stamp
    self.expiry = expiry
    self.value = value
  }

  func isHidden(at now: UInt64) -> Bool { expiry.map { $0 <= now } ?? false }

  /// Whether that write is this one, or replaced by it.
  func covers(_ other: Dot) -> Bool { other == dot || clock.covers(other) }

  /// What whoever has seen it knows, where nothing that it has not replaced is left of its log.
  public var knowledge: VersionVector {
    var all = clock
    all.add(dot)
    return all
  }
}

/// The versions of a key that none of the others replaces, newest first, and their form as the value of an
/// index's entry: for each
///
///     0   4  bytes of the value
///     4   2  number of clock entries
///     6   2  flags: 1 expiry
///     8   8  its dot's origin
///     16  8  its dot's sequence number
///     24  8  stamp
///         8  expiry, milliseconds since 1970        (flag expiry)
///            the clock's entries: origin, sequence number
///            the value
///
/// The state that follows from a set of writes does not depend on their order, nor on how often each comes
/// (Preguiça et al., Dotted Version Vectors, 2010; Almeida et al., Delta State Replicated Data Types, 2016).
public struct KeyVersions: Hashable, Sendable {
  public private(set) var all: [KeyVersion]

  public init(_ all: [KeyVersion] = []) {
    self.all = all
    sort()
  }

  private mutating func sort() {
    if all.count > 1 { all.sort { ($0.stamp, $0.dot) > ($1.stamp, $1.dot) } }
  }

  public var isEmpty: Bool { all.isEmpty }
  public var newest: KeyVersion? { all.first }

  /// What whoever has seen them all knows of the key.
  public var context: VersionVector {
    var context = VersionVector()
    for version in all { context.merge(version.knowledge) }
    return context
  }

  /// The same for the same set of versions: the key's entity tag, and what digests count.
  public var tag: UInt64 { Self.tag(of: all.map(\.dot)) }

  static func tag(of dots: [Dot]) -> UInt64 {
    let sum = dots.reduce(0) { $0 &+ term($1) }
    // 0 stands for no version.
    return sum == 0 ? 1 : sum
  }

  /// The same of one alone.
  public static func tag(of dot: Dot) -> UInt64 {
    let sum = term(dot)
    return sum == 0 ? 1 : sum
  }

  private static func term(_ dot: Dot) -> UInt64 { mix(dot.origin &+ mix(dot.sequence)) }

  private static func mix(_ number: UInt64) -> UInt64 {
    var x = number ^ 0x9e37_79b9_7f4a_7c15
    x = (x ^ x >> 33) &* 0xff51_afd7_ed55_8ccd
    x = (x ^ x >> 33) &* 0xc4ce_b9fe_1a85_ec53
    return x ^ x >> 33
  }

  /// When the first of them expires.
  var earliestExpiry: UInt64? { all.compactMap(\.expiry).min() }

  // MARK: - Merging

  /// Takes a write of a value in. Whatever becomes of it, what it knew of goes: whoever has replaced it may have
  /// known less.
  ///
  /// - Returns: false when one of those here has replaced it, or is it.
  @discardableResult
  public mutating func put(_ version: KeyVersion) -> Bool {
    let isKnown = all.contains { $0.covers(version.dot) }
    all.removeAll { version.clock.covers($0.dot) }
    guard !isKnown else { return false }
    all.append(version)
    sort()
    return true
  }

  /// Takes a deletion in: all that it knew of goes.
  public mutating func delete(_ clock: VersionVector) {
    all.removeAll { clock.covers($0.dot) }
  }

  /// Without what is hidden from who looks at that time.
  public mutating func hide(at now: UInt64) { expire(at: now) }

  /// What has expired by then goes.
  mutating func expire(at time: UInt64) { all.removeAll { $0.isHidden(at: time) } }

  /// Takes in what another node has of the key.
  ///
  /// - Parameters:
  ///   - known: up to where this one has applied each log. What is missing here and covered by that was
  ///     replaced or deleted.
  ///   - theirs: the same of the other one.
  public mutating func merge(
    _ other: KeyVersions, known: VersionVector, theirs: VersionVector
  ) {
    let own = all
    all.removeAll { version in
      !other.all.contains { $0.dot == version.dot }
        && (theirs.covers(version.dot)
          || other.all.contains { $0.clock.covers(version.dot) })
    }
    for version in other.all where !own.contains(where: { $0.dot == version.dot }) {
      guard !known.covers(version.dot), !own.contains(where: { $0.clock.covers(version.dot) })
      else { continue }
      all.append(version)
    }
    sort()
  }

  // MARK: - Bytes

  private static let headerBytes = 32
  private static let expiryFlag: UInt16 = 1

  /// The bytes that `encode` appends.
  var encodedBytes: Int {
    all.reduce(0) { sum, version in
      sum + Self.headerBytes + (version.expiry == nil ? 0 : 8)
        + version.clock.entries.count * ClockEntry.encodedBytes + version.value.count
    }
  }

  public func encode(into bytes: inout [UInt8]) {
    bytes.reserveCapacity(bytes.count + encodedBytes)
    for version in all {
      version.value.withUnsafeBytes {
        Self.encode(version.dot, version.clock, version.stamp, version.expiry, $0, into: &bytes)
      }
    }
  }

  /// Appends one version.
  static func encode(
    _ dot: Dot, _ clock: VersionVector, _ stamp: UInt64, _ expiry: UInt64?,
    _ value: UnsafeRawBufferPointer, into bytes: inout [UInt8]
  ) {
    func append(_ number: some FixedWidthInteger) {
      withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) }
    }
    append(UInt32(value.count))
    append(UInt16(clock.entries.count))
    append(expiry == nil ? 0 : Self.expiryFlag)
    append(dot.origin)
    append(dot.sequence)
    append(stamp)
    if let expiry { append(expiry) }
    for entry in clock.entries {
      append(entry.origin)
      append(entry.sequence)
    }
    bytes.append(contentsOf: value)
  }

  /// Reads what `encode` writes, from another node as well.
  ///
  /// - Returns: nil for anything else.
  public init?(parsing bytes: UnsafeRawBufferPointer) {
    all = []
    var cursor = KeyVersionCursor(bytes)
    while let version = cursor.next() {
      all.append(
        KeyVersion(
          dot: version.dot, clock: version.clock, stamp: version.stamp, expiry: version.expiry,
          value: Array(version.value)))
    }
    guard cursor.isAtEnd else { return nil }
    let dots = all.map(\.dot)
    guard Set(dots).count == dots.count else { return nil }
    sort()
  }
}

/// Looks through the versions of a key where they are.
public struct KeyVersionCursor {
  public struct View {
    public let dot: Dot
    public let stamp: UInt64
    public let expiry: UInt64?
    /// The clock's entries.
    fileprivate let entries: UnsafeRawBufferPointer
    public let value: UnsafeRawBufferPointer

    public var clock: VersionVector { VersionVector(record: entries) }

    /// What whoever has seen it knows, where it is the only one.
    public var knowledge: VersionVector {
      var all = clock
      all.add(dot)
      return all
    }

    private var entryCount: Int { entries.count / ClockEntry.encodedBytes }

    /// Whether that write is this one, or replaced by it.
    @inline(__always)
    func covers(_ other: Dot) -> Bool {
      if other == dot { return true }
      let span = entries.bytes
      for index in 0..<entryCount {
        let entry = ClockEntry(in: span, at: index)
        if entry.origin == other.origin { return entry.sequence >= other.sequence }
      }
      return false
    }

    /// Whether it has replaced what is behind that.
    @inline(__always)
    func isAhead(of applied: VersionVector) -> Bool {
      let span = entries.bytes
      for index in 0..<entryCount {
        let entry = ClockEntry(in: span, at: index)
        if entry.origin != dot.origin, applied[entry.origin] < entry.sequence { return true }
      }
      return false
    }

    public func isHidden(at now: UInt64) -> Bool { expiry.map { $0 <= now } ?? false }
  }

  private let bytes: UnsafeRawBufferPointer
  private var offset = 0

  public init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  /// Behind the last whole version.
  public var isAtEnd: Bool { offset == bytes.count }

  /// The next version; nil behind the last, and where the bytes are none.
  public mutating func next() -> View? {
    let start = offset
    guard bytes.count - start >= 32 else { return nil }
    func number<T: FixedWidthInteger>(_ type: T.Type, _ place: Int) -> T {
      T(littleEndian: bytes.loadUnaligned(fromByteOffset: start + place, as: type))
    }
    let valueCount = Int(number(UInt32.self, 0))
    let clockCount = Int(number(UInt16.self, 4))
    let flags = number(UInt16.self, 6)
    let hasExpiry = flags == 1
    let dot = Dot(origin: number(UInt64.self, 8), sequence: number(UInt64.self, 16))
    let clockStart = start + 32 + (hasExpiry ? 8 : 0)
    let clockBytes = clockCount * ClockEntry.encodedBytes
    guard flags <= 1, valueCount <= Format.valueBytesMax, clockCount <= Format.clockEntriesMax,
      dot.sequence >= 1, dot.sequence < Format.sequenceLimit,
      bytes.count - clockStart >= clockBytes + valueCount
    else { return nil }
    let entries = UnsafeRawBufferPointer(rebasing: bytes[clockStart..<clockStart + clockBytes])
    guard Self.isValid(entries) else { return nil }
    let end = clockStart + clockBytes + valueCount
    offset = end
    return View(
      dot: dot, stamp: number(UInt64.self, 24),
      expiry: hasExpiry ? number(UInt64.self, 32) : nil, entries: entries,
      value: UnsafeRawBufferPointer(rebasing: bytes[clockStart + clockBytes..<end]))
  }

  private static func isValid(_ entries: UnsafeRawBufferPointer) -> Bool {
    var previous: UInt64?
    for index in 0..<entries.count / ClockEntry.encodedBytes {
      let entry = ClockEntry(in: entries.bytes, at: index)
      guard previous.map({ $0 < entry.origin }) ?? true, entry.sequence >= 1,
        entry.sequence < Format.sequenceLimit
      else { return false }
      previous = entry.origin
    }
    return true
  }
}
