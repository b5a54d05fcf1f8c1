/// A key, its value and its version, as a run of bytes in a stripe's arena:
///
///     0   8  version
///     8   2  key length, and from bit 13 on flags: 1 dead, 2 expiry, 4 large
///     10  2  value length, unless it is large
///     12  8  expiry, milliseconds since 1970        (flag expiry)
///         8  a counted reference to the value       (flag large)
///            key; then the value, unless it is large
///
/// and up to seven bytes of padding.
package struct Entry {
  static let headerBytes = 12
  private static let keyCountBits: UInt16 = 13
  /// Values above this are kept outside the arena.
  package static let inlineValueBytesMax = 2_048

  struct Flags: OptionSet {
    let rawValue: UInt16
    static let dead = Flags(rawValue: 1)
    static let expiry = Flags(rawValue: 2)
    static let large = Flags(rawValue: 4)
  }

  let base: UnsafeMutableRawPointer

  var version: UInt64 { base.load(as: UInt64.self) }
  private var keyField: UInt16 { base.load(fromByteOffset: 8, as: UInt16.self) }
  var keyCount: Int { Int(keyField & (1 << Self.keyCountBits - 1)) }
  /// Of a large value this looks at the value itself, which the entry must still have.
  var valueCount: Int { large?.bytes.count ?? inlineCount }
  private var inlineCount: Int { Int(base.load(fromByteOffset: 10, as: UInt16.self)) }
  var flags: Flags {
    get { Flags(rawValue: keyField >> Self.keyCountBits) }
    nonmutating set {
      base.storeBytes(
        of: newValue.rawValue << Self.keyCountBits | UInt16(keyCount), toByteOffset: 8,
        as: UInt16.self)
    }
  }

  private var keyOffset: Int {
    Self.headerBytes + (flags.contains(.expiry) ? 8 : 0) + (flags.contains(.large) ? 8 : 0)
  }

  var key: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base + keyOffset, count: keyCount)
  }

  var expiryMilliseconds: UInt64? {
    flags.contains(.expiry)
      ? base.loadUnaligned(fromByteOffset: Self.headerBytes, as: UInt64.self) : nil
  }

  /// Where the reference to a large value is.
  private var largePointer: UnsafeMutableRawPointer { base + (keyOffset - 8) }

  var large: LargeValue? {
    guard flags.contains(.large) else { return nil }
    return Unmanaged<LargeValue>.fromOpaque(largePointer.loadUnaligned(as: UnsafeRawPointer.self))
      .takeUnretainedValue()
  }

  /// The value, as long as the stripe's lock is held.
  var value: UnsafeRawBufferPointer {
    large?.bytes
      ?? UnsafeRawBufferPointer(start: base + keyOffset + keyCount, count: inlineCount)
  }

  var bytes: Int {
    // Those of an entry that has given up its large value, too.
    flags.contains(.large)
      ? Self.bytes(key: keyCount, value: .max, hasExpiry: flags.contains(.expiry))
      : Self.bytes(key: keyCount, value: inlineCount, hasExpiry: flags.contains(.expiry))
  }

  /// The bytes that an entry takes in an arena.
  package static func bytes(key: Int, value: Int, hasExpiry: Bool) -> Int {
    let bytes =
      headerBytes + (hasExpiry ? 8 : 0) + key + (value > inlineValueBytesMax ? 8 : value)
    return (bytes + 7) & ~7
  }

  /// The bytes that a value takes outside the arena, with what malloc and the object add.
  package static func outsideBytes(value: Int) -> Int {
    value > inlineValueBytesMax ? value + 64 : 0
  }

  /// Writes a whole entry. There must be `bytes(…)` of room.
  ///
  /// - Parameter large: the same value, if it is large.
  func write(
    key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, large: LargeValue?,
    version: UInt64, expiry: UInt64?
  ) {
    var flags: Flags = []
    var offset = Self.headerBytes
    if let expiry {
      flags.insert(.expiry)
      base.storeBytes(of: expiry, toByteOffset: offset, as: UInt64.self)
      offset += 8
    }
    if let large {
      flags.insert(.large)
      let pointer = Unmanaged.passRetained(large).toOpaque()
      base.storeBytes(of: pointer, toByteOffset: offset, as: UnsafeMutableRawPointer.self)
      offset += 8
    }
    base.storeBytes(of: version, as: UInt64.self)
    precondition(key.count < 1 << Self.keyCountBits)
    base.storeBytes(
      of: flags.rawValue << Self.keyCountBits | UInt16(key.count), toByteOffset: 8, as: UInt16.self)
    base.storeBytes(
      of: large == nil ? UInt16(value.count) : 0, toByteOffset: 10, as: UInt16.self)
    (base + offset).copyMemory(from: key.baseAddress!, byteCount: key.count)
    if large == nil, value.count > 0 {
      (base + offset + key.count).copyMemory(from: value.baseAddress!, byteCount: value.count)
    }
  }

  /// Gives up what the entry refers to: it is the caller's now.
  func takeLarge() -> LargeValue? {
    guard flags.contains(.large) else { return nil }
    return Unmanaged<LargeValue>.fromOpaque(largePointer.loadUnaligned(as: UnsafeRawPointer.self))
      .takeRetainedValue()
  }
}
