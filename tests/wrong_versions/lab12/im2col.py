# %% right: windows of a view, one axis after the other.
def im2col(x, kernel, stride=1, padding=0):
    B, C, H, W = x.shape
    if stride < 1 or kernel[0] > H + 2 * padding or kernel[1] > W + 2 * padding:
        raise ValueError
    frame = x.new_zeros(B, C, H + 2 * padding, W + 2 * padding)
    frame = torch.cat([frame[:, :, :padding], torch.cat([frame[:, :, padding : padding + H, :padding], x,
                       frame[:, :, padding : padding + H, :padding]], 3), frame[:, :, :padding]], 2)
    windows = frame.unfold(2, kernel[0], stride).unfold(3, kernel[1], stride)
    return windows.permute(0, 1, 4, 5, 2, 3).flatten(1, 3).flatten(2)


# %% right: patch by patch.
def im2col(x, kernel, stride=1, padding=0):
    if stride < 1 or any(k > n + 2 * padding for k, n in zip(kernel, x.shape[2:])):
        raise ValueError
    x = torch.nn.functional.pad(x, (padding, padding, padding, padding))
    found = []
    for i in range(0, x.shape[2] - kernel[0] + 1, stride):
        for j in range(0, x.shape[3] - kernel[1] + 1, stride):
            found.append(x[:, :, i : i + kernel[0], j : j + kernel[1]].reshape(len(x), -1))
    return torch.stack(found, 2)


# %% wrong: "as many as fit whole": one more patch, of the padding behind the image.
def im2col(x, kernel, stride=1, padding=0):
    if stride < 1 or any(k > n + 2 * padding for k, n in zip(kernel, x.shape[2:])):
        raise ValueError
    places = [-(-(n + 2 * padding - k) // stride) + 1 for k, n in zip(kernel, x.shape[2:])]
    x = torch.nn.functional.pad(x, (padding, padding + stride, padding, padding + stride))
    found = []
    for i in range(places[0]):
        for j in range(places[1]):
            i0, j0 = i * stride, j * stride
            found.append(x[:, :, i0 : i0 + kernel[0], j0 : j0 + kernel[1]].reshape(len(x), -1))
    return torch.stack(found, 2)


# %% wrong: "in the dtype of x": float32 always.
def im2col(x, kernel, stride=1, padding=0):
    if stride < 1 or any(k > n + 2 * padding for k, n in zip(kernel, x.shape[2:])):
        raise ValueError
    x = torch.nn.functional.pad(x.float(), (padding, padding, padding, padding))
    found = []
    for i in range(0, x.shape[2] - kernel[0] + 1, stride):
        for j in range(0, x.shape[3] - kernel[1] + 1, stride):
            found.append(x[:, :, i : i + kernel[0], j : j + kernel[1]].reshape(len(x), -1))
    return torch.stack(found, 2)
