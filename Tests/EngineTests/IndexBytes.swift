import Engine
import WAL

/// What a key has, copied out.
struct Found: Equatable {
  var version: UInt64
  var value: [UInt8]
  var expiry: UInt64?
}

/// The index's operations on arrays of bytes.
extension Index {
  func hash(_ key: [UInt8]) -> KeyHash { key.withUnsafeBytes { hasher($0) } }

  @discardableResult
  func put(
    _ key: [UInt8], _ value: [UInt8], version: UInt64, expiry: UInt64? = nil
  ) -> Bool {
    key.withUnsafeBytes { key in
      value.withUnsafeBytes { put(key, $0, hasher(key), version: version, expiry: expiry) }
    }
  }

  @discardableResult
  func remove(_ key: [UInt8]) -> Bool { key.withUnsafeBytes { remove($0, hasher($0)) } }

  func version(_ key: [UInt8]) -> UInt64? { key.withUnsafeBytes { version($0, hasher($0)) } }

  func get(_ key: [UInt8]) -> Found? {
    var found: Found?
    let isPresent = key.withUnsafeBytes { key in
      read(key, hasher(key)) { view in
        found = Found(
          version: view.version, value: Array(view.value), expiry: view.expiryMilliseconds)
      }
    }
    precondition(isPresent == (found != nil))
    return found
  }

  func contents() -> [[UInt8]: Found] {
    var contents: [[UInt8]: Found] = [:]
    forEach { key, view in
      let old = contents.updateValue(
        Found(version: view.version, value: Array(view.value), expiry: view.expiryMilliseconds),
        forKey: Array(key))
      precondition(old == nil, "a key twice")
    }
    return contents
  }
}

func utf8(_ text: String) -> [UInt8] { Array(text.utf8) }
