#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The place that a node is given for its data.
enum DataDirectory {
  struct Refused: Error, CustomStringConvertible {
    var path: String
    var code: Int32

    var description: String {
      "\(path): cannot create directory: \(String(cString: strerror(code))). "
        + "Choose another --data-dir"
    }
  }

  /// Makes the directory, and those around it, unless they are there.
  static func make(_ path: String) throws(Refused) {
    guard let code = failure(path) else { return }
    throw Refused(path: path, code: code)
  }

  private static func failure(_ path: String) -> Int32? {
    if mkdir(path, 0o777) == 0 { return nil }
    switch errno {
    case EEXIST:
      var info = stat()
      guard stat(path, &info) == 0 else { return errno }
      return info.st_mode & S_IFMT == S_IFDIR ? nil : EEXIST
    case ENOENT:
      guard let parent = parent(path) else { return ENOENT }
      if let code = failure(parent) { return code }
      return mkdir(path, 0o777) == 0 || errno == EEXIST ? nil : errno
    default:
      return errno
    }
  }

  /// Nil when there is none to be made.
  private static func parent(_ path: String) -> String? {
    var rest = path[...]
    while rest.last == "/" { rest.removeLast() }
    guard let slash = rest.lastIndex(of: "/"), slash != rest.startIndex else { return nil }
    return String(rest[..<slash])
  }
}
