"""One file a family of detectors. Each has `build(spec, device)`, which gives a `workers.detecting.detectors.Detector`.

Which detector belongs to which family stands in `posemill/catalogue/detectors.py`. Only this folder imports
controlnet_aux.
"""
